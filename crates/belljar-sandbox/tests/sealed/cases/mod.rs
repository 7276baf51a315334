//! The cases, by what they are about.

mod files;
mod life;
mod networks;
mod seal;
mod slots;

use belljar_sandbox::Zygote;

pub(crate) use life::host;

pub(crate) type Case = fn(&Zygote);

/// Every case with its name. One that is not here does not compile without a warning.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, Case)> {
    [seal::CASES, files::CASES, life::CASES, networks::CASES, slots::CASES].into_iter().flatten().copied()
}
