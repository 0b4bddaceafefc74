//! The keys of a JSON object, of which none may be left over: one that is not known may change a number.

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The keys of an object that have not been read yet.
pub(super) struct Keys {
    /// What messages call it.
    name: &'static str,
    left: Map<String, Value>,
}

impl Keys {
    pub(super) fn new(name: &'static str, object: Map<String, Value>) -> Self {
        Self { name, left: object }
    }

    /// Takes a key's value; absent when it is left out or null.
    ///
    /// *Errors* when it is of another type.
    pub(super) fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        match self.left.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let read = serde_json::from_value(value.clone());
                Ok(Some(read.with_context(|| format!("{}: {key} cannot be {value}", self.name))?))
            }
        }
    }

    /// Takes a key's value, or else `default`.
    ///
    /// *Errors* when it is of another type.
    pub(super) fn take_or<T: DeserializeOwned>(&mut self, key: &str, default: T) -> Result<T> {
        Ok(self.take(key)?.unwrap_or(default))
    }

    /// Whether a key is there, null or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.left.contains_key(key)
    }

    /// Leaves out keys that change nothing in use.
    pub(super) fn skip(&mut self, keys: &[&str]) {
        for key in keys {
            self.left.remove(*key);
        }
    }

    /// Takes keys that clipclass knows only the default of.
    ///
    /// *Errors* when one has another value, naming it.
    pub(super) fn only_default(&mut self, keys: &[(&str, Value)]) -> Result<()> {
        for (key, default) in keys {
            match self.left.remove(*key) {
                None | Some(Value::Null) => {}
                Some(value) if value == *default => {}
                Some(value) => bail!("{}: {key} {value} is not supported", self.name),
            }
        }
        Ok(())
    }

    /// Ends the reading.
    ///
    /// *Errors* when a key is left over, naming it.
    pub(super) fn end(self) -> Result<()> {
        let left: Vec<_> = self.left.iter().map(|(key, value)| format!("{key} {value}")).collect();
        ensure!(
            left.is_empty(),
            "{}: {} is not known and may change the numbers",
            self.name,
            left.join(", ")
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn keys(object: Value) -> Keys {
        Keys::new("text_cfg", object.as_object().unwrap().clone())
    }

    #[test]
    fn key_that_is_left_over_is_named() {
        let mut keys = keys(json!({"width": 8, "spin": 2}));
        assert_eq!(keys.take_or("width", 4usize).unwrap(), 8);
        assert_eq!(keys.take_or("height", 4usize).unwrap(), 4);
        let error = keys.end().unwrap_err().to_string();
        assert_eq!(error, "text_cfg: spin 2 is not known and may change the numbers");
    }

    #[test]
    fn value_of_another_type_or_beside_the_default_is_named() {
        let mut keys = keys(json!({"width": "wide", "qk_norm": true, "embed_cls": false}));
        let error = format!("{:#}", keys.take::<usize>("width").unwrap_err());
        assert!(error.starts_with("text_cfg: width cannot be \"wide\""), "{error}");
        keys.only_default(&[("embed_cls", false.into())]).unwrap();
        let error = keys.only_default(&[("qk_norm", false.into())]).unwrap_err().to_string();
        assert_eq!(error, "text_cfg: qk_norm true is not supported");
        keys.end().unwrap();
    }
}
