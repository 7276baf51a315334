//! What a backend is: something that carries out orders and reports, and never waits.

use crate::machine::Order;

/// Where replicas run. `carry_out` returns at once; what came of an order arrives as
/// [`crate::machine::Report`]s, in the order in which it happened to one replica.
pub trait Backend: Send + 'static {
    fn carry_out(&mut self, order: Order);
}
