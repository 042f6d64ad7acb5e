//! Lists and maps of a request, no longer in memory than what follows from the model.
//!
//! A body of a few megabytes may hold millions of elements that are nothing in it and a hundred bytes each in memory. So of a list
//! that is too long one element more than it may have is kept, and the rest is read and let go of: that one is enough for the
//! [check](super::check) to find the bound broken, and all of the body is still looked at as if it were kept.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Reads a list that may have so many elements.
pub(super) fn list<'de, const MAX: usize, T, D>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::<List<MAX, T>>::deserialize(deserializer)?.map(|List(elements)| elements))
}

/// Reads a map that may have so many entries.
pub(super) fn map<'de, const MAX: usize, K, V, D>(deserializer: D) -> Result<Option<BTreeMap<K, V>>, D::Error>
where
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::<Map<MAX, K, V>>::deserialize(deserializer)?.map(|Map(entries)| entries))
}

struct List<const MAX: usize, T>(Vec<T>);

impl<'de, const MAX: usize, T: Deserialize<'de>> Deserialize<'de> for List<MAX, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

struct ListVisitor<const MAX: usize, T>(PhantomData<T>);

impl<'de, const MAX: usize, T: Deserialize<'de>> Visitor<'de> for ListVisitor<MAX, T> {
    type Value = List<MAX, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rest: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(element) = rest.next_element()? {
            if kept.len() <= MAX {
                kept.push(element);
            }
        }
        Ok(List(kept))
    }
}

struct Map<const MAX: usize, K, V>(BTreeMap<K, V>);

impl<'de, const MAX: usize, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Deserialize<'de> for Map<MAX, K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MapVisitor(PhantomData))
    }
}

struct MapVisitor<const MAX: usize, K, V>(PhantomData<(K, V)>);

impl<'de, const MAX: usize, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for MapVisitor<MAX, K, V> {
    type Value = Map<MAX, K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut rest: A) -> Result<Self::Value, A::Error> {
        let mut kept = BTreeMap::new();
        while let Some((key, value)) = rest.next_entry()? {
            // The later of two values for a key counts, as ever.
            if kept.len() <= MAX || kept.contains_key(&key) {
                kept.insert(key, value);
            }
        }
        Ok(Map(kept))
    }
}
