//! What an embedding depends on → the digest it is found by.
//!
//! Only digests reach the disk: no prompt and no file name can be read back from the embedding cache.

use super::mark::FileMark;
use blake3::{Hash, Hasher};
use std::fs::File;
use std::path::Path;

/// Raised whenever a change of the crate alters any digit of an embedding: of decoding, resizing,
/// tokenizing or the network. A test with pinned embeddings, `tests/it/pinned.rs`, fails until it is.
pub const ARITHMETIC: u32 = 5;

/// The embedding space of a model: everything that changes a digit of its embeddings is a field.
///
/// ```
/// # use clipclass::cache::SpaceKey;
/// let key = SpaceKey::new().field("device", "cpu").field("mean", [0.5f32; 3]);
/// ```
#[derive(Debug, Clone)]
pub struct SpaceKey {
    hasher: Hasher,
}

impl Default for SpaceKey {
    fn default() -> Self {
        Self::new()
    }
}

impl SpaceKey {
    /// A key that holds the version of the crate's [arithmetic](ARITHMETIC).
    pub fn new() -> Self {
        Self { hasher: Hasher::new() }.field("arithmetic", ARITHMETIC)
    }

    /// Adds a field.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl KeyValue) -> Self {
        name.feed(&mut self.hasher);
        value.feed(&mut self.hasher);
        self
    }

    pub(super) fn hash(&self) -> Hash {
        self.hasher.finalize()
    }
}

/// A value that a key can hold. What one feeds is never the beginning of what another does, so that
/// neighbours cannot be mistaken for one another.
pub trait KeyValue {
    /// Feeds the value with a mark of its type.
    fn feed(&self, hasher: &mut Hasher);
}

impl KeyValue for str {
    fn feed(&self, hasher: &mut Hasher) {
        hasher.update(b"s").update(&(self.len() as u64).to_le_bytes()).update(self.as_bytes());
    }
}

impl KeyValue for u32 {
    fn feed(&self, hasher: &mut Hasher) {
        hasher.update(b"u").update(&self.to_le_bytes());
    }
}

impl KeyValue for u64 {
    fn feed(&self, hasher: &mut Hasher) {
        hasher.update(b"U").update(&self.to_le_bytes());
    }
}

impl KeyValue for f32 {
    fn feed(&self, hasher: &mut Hasher) {
        hasher.update(b"f").update(&self.to_bits().to_le_bytes());
    }
}

impl KeyValue for f64 {
    fn feed(&self, hasher: &mut Hasher) {
        hasher.update(b"F").update(&self.to_bits().to_le_bytes());
    }
}

/// A digest.
impl KeyValue for [u8; 32] {
    fn feed(&self, hasher: &mut Hasher) {
        hasher.update(b"d").update(self);
    }
}

impl KeyValue for [f32; 3] {
    fn feed(&self, hasher: &mut Hasher) {
        self.iter().for_each(|value| value.feed(hasher));
    }
}

impl<A: KeyValue, B: KeyValue> KeyValue for (A, B) {
    fn feed(&self, hasher: &mut Hasher) {
        self.0.feed(hasher);
        self.1.feed(hasher);
    }
}

impl<T: KeyValue> KeyValue for Option<T> {
    fn feed(&self, hasher: &mut Hasher) {
        match self {
            Some(value) => {
                hasher.update(b"+");
                value.feed(hasher);
            }
            None => {
                hasher.update(b"-");
            }
        }
    }
}

impl<T: KeyValue + ?Sized> KeyValue for &T {
    fn feed(&self, hasher: &mut Hasher) {
        (**self).feed(hasher);
    }
}

/// Under which an image is kept; learned step by step, the cheap ones first.
#[derive(Debug, Clone, Default)]
pub struct ImageKey {
    pub(super) mark: Option<Hash>,
    pub(super) content: Option<Hash>,
}

impl ImageKey {
    /// The key of a file that is not read: enough where it was seen before and did not change.
    pub fn of_file(path: &Path) -> Self {
        Self { mark: FileMark::of(path).and_then(FileMark::settled), content: None }
    }

    /// The key of an open file that was found at `path`.
    pub fn of_open(file: &File, path: &Path) -> Self {
        Self { mark: FileMark::of_open(file, path).and_then(FileMark::settled), content: None }
    }

    /// The key of encoded bytes without a file.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::default().with_bytes(bytes)
    }

    /// Adds the digest of the encoded bytes, read after the key was made.
    pub fn with_bytes(self, bytes: &[u8]) -> Self {
        Self { content: Some(blake3::hash(bytes)), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_where_a_field_has_another_name_type_or_value() {
        let keys = [
            SpaceKey::new(),
            SpaceKey::new().field("a", 1u32),
            SpaceKey::new().field("a", 1u64),
            SpaceKey::new().field("a", 1f32),
            SpaceKey::new().field("a", 1f64),
            SpaceKey::new().field("a", 2u32),
            SpaceKey::new().field("b", 1u32),
            SpaceKey::new().field("a", Some(1u32)),
            SpaceKey::new().field("a", None::<u32>),
            SpaceKey::new().field("a", "1"),
            SpaceKey::new().field("a", "1").field("b", "2"),
            SpaceKey::new().field("a", "1b2"),
            SpaceKey::new().field("a", "").field("1b2", ""),
            SpaceKey::new().field("a", (1u32, 2u32)),
            SpaceKey::new().field("a", (2u32, 1u32)),
            SpaceKey::new().field("a", 0f32),
            SpaceKey::new().field("a", -0f32),
        ];
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(keys.iter().position(|other| other.hash() == key.hash()), Some(i), "key {i}");
        }
    }
}
