//! Packages that have the servers of recipes, and which package manager a system has.

/// One package of one package manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub manager: Manager,
    pub name: String,
}

/// Who installs packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// Debian and its descendants.
    Apt,
    /// Fedora and its relatives.
    Dnf,
    /// Alpine.
    Apk,
    /// Arch.
    Pacman,
    /// openSUSE.
    Zypper,
    /// The registry of JavaScript, on any system.
    Npm,
    /// The registry of Python, on any system.
    Pip,
}

impl Package {
    /// The command that installs it.
    pub fn install(&self) -> String {
        let verb = match self.manager {
            Manager::Apt => "apt-get install",
            Manager::Dnf => "dnf install",
            Manager::Apk => "apk add",
            Manager::Pacman => "pacman -S",
            Manager::Zypper => "zypper install",
            Manager::Npm => "npm install",
            Manager::Pip => "pip install",
        };
        format!("{verb} {}", self.name)
    }
}

impl Manager {
    pub const ALL: &'static [Self] =
        &[Self::Apt, Self::Dnf, Self::Apk, Self::Pacman, Self::Zypper, Self::Npm, Self::Pip];

    /// As recipes call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apt => "apt",
            Self::Dnf => "dnf",
            Self::Apk => "apk",
            Self::Pacman => "pacman",
            Self::Zypper => "zypper",
            Self::Npm => "npm",
            Self::Pip => "pip",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.as_str() == name)
    }

    /// The one of a system, by its `/etc/os-release`.
    pub fn of_system(os_release: &str) -> Option<Self> {
        let value = |key: &str| {
            let line =
                os_release.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
            Some(line.trim_matches(['"', '\'']))
        };
        // What the system is comes before what it is like.
        let words = ["ID", "ID_LIKE"].into_iter().filter_map(value).flat_map(str::split_whitespace);
        words.into_iter().find_map(|word| match word {
            "debian" | "ubuntu" => Some(Self::Apt),
            "fedora" | "rhel" | "centos" => Some(Self::Dnf),
            "alpine" => Some(Self::Apk),
            "arch" => Some(Self::Pacman),
            "suse" | "opensuse" => Some(Self::Zypper),
            _ => None,
        })
    }

    /// Whether its packages are for every system.
    pub fn is_of_any_system(self) -> bool {
        matches!(self, Self::Npm | Self::Pip)
    }
}

#[cfg(test)]
mod tests {
    use super::Manager;

    #[test]
    fn systems_are_known_by_themselves_or_by_their_relatives() {
        for (os_release, manager) in [
            ("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n", Some(Manager::Apt)),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Some(Manager::Apt)),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", Some(Manager::Dnf)),
            ("NAME=Alpine\nID=alpine\n", Some(Manager::Apk)),
            ("ID=manjaro\nID_LIKE=arch\n", Some(Manager::Pacman)),
            ("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n", Some(Manager::Zypper)),
            ("ID=nixos\n", None),
            ("", None),
        ] {
            assert_eq!(Manager::of_system(os_release), manager, "{os_release}");
        }
    }

    #[test]
    fn every_manager_is_found_by_its_name() {
        for manager in Manager::ALL {
            assert_eq!(Manager::of_name(manager.as_str()), Some(*manager));
        }
    }
}
