//! The targets: one file and one row each.

use super::blocks::Target;

mod control;
pub mod haybarn_dynamic;
pub mod haybarn_static;
#[cfg(feature = "peers")]
mod jemalloc;
mod malloc;
#[cfg(feature = "peers")]
mod mimalloc;
#[cfg(feature = "peers")]
mod rusty_alloc;
#[cfg(feature = "peers")]
mod snmalloc;
mod system;

/// Something to be done for each target's type.
pub trait Visitor {
    /// Called once for each target.
    fn visit<T: Target>(&mut self);
}

/// Shows every target to `visitor`, in the order of the tables.
pub fn each<V: Visitor>(visitor: &mut V) {
    visitor.visit::<control::Control>();
    visitor.visit::<haybarn_static::Static>();
    visitor.visit::<haybarn_dynamic::Dynamic<haybarn_dynamic::Best>>();
    visitor.visit::<haybarn_dynamic::Dynamic<haybarn_dynamic::Wide>>();
    visitor.visit::<haybarn_dynamic::Dynamic<haybarn_dynamic::OnPacked>>();
    #[cfg(feature = "peers")]
    visitor.visit::<rusty_alloc::RustyAlloc>();
    #[cfg(feature = "peers")]
    visitor.visit::<mimalloc::MiMalloc>();
    #[cfg(feature = "peers")]
    visitor.visit::<snmalloc::SnMalloc>();
    #[cfg(feature = "peers")]
    visitor.visit::<jemalloc::Jemalloc>();
    visitor.visit::<system::System>();
}
