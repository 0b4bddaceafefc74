//! What several tests need: where the fixtures are, and small worlds made of them.

/// The small model that knows drawings.
pub const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny-clip");
