//! The two containers of the protocol: what is kept for every page, and what is under way for a few.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::CHUNK_PAGES;

/// A value for every page of a region, made a chunk at a time when first needed: declaring a large region is free.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct PerPage<T> {
    chunks: BTreeMap<u64, Box<[T]>>,
}

impl<T> Default for PerPage<T> {
    fn default() -> PerPage<T> {
        PerPage { chunks: BTreeMap::new() }
    }
}

impl<T: Clone + Default> PerPage<T> {
    pub(crate) fn get(&self, index: u64) -> Option<&T> {
        self.chunks.get(&(index / CHUNK_PAGES)).map(|chunk| &chunk[(index % CHUNK_PAGES) as usize])
    }

    /// All values of chunks that were made, from `index` on.
    pub(crate) fn iter_from(&self, index: u64) -> impl Iterator<Item = (u64, &T)> {
        self.chunks
            .range(index / CHUNK_PAGES..)
            .flat_map(|(number, chunk)| (number * CHUNK_PAGES..).zip(chunk.iter()))
            .skip_while(move |(at, _)| *at < index)
    }

    /// As [`iter_from`](PerPage::iter_from), to be changed.
    pub(crate) fn iter_mut_from(&mut self, index: u64) -> impl Iterator<Item = (u64, &mut T)> {
        self.chunks
            .range_mut(index / CHUNK_PAGES..)
            .flat_map(|(number, chunk)| (number * CHUNK_PAGES..).zip(chunk.iter_mut()))
            .skip_while(move |(at, _)| *at < index)
    }

    /// Takes out the chunks for which `goes_to` names a place, and returns them by place.
    pub(crate) fn distribute<K: Ord + Copy>(
        &mut self,
        goes_to: impl Fn(u64) -> Option<K>,
    ) -> Few<K, PerPage<T>> {
        let mut places: Few<K, PerPage<T>> = Few::new();
        for (number, chunk) in core::mem::take(&mut self.chunks) {
            let chunks = match goes_to(number * CHUNK_PAGES) {
                Some(place) => &mut places.or_default(place).chunks,
                None => &mut self.chunks,
            };
            chunks.insert(number, chunk);
        }
        places
    }

    /// Frees the chunks that end before `index`.
    pub(crate) fn forget_before(&mut self, index: u64) {
        self.chunks = self.chunks.split_off(&(index / CHUNK_PAGES));
    }

    pub(crate) fn get_mut(&mut self, index: u64) -> &mut T {
        let chunk = self
            .chunks
            .entry(index / CHUNK_PAGES)
            .or_insert_with(|| alloc::vec![T::default(); CHUNK_PAGES as usize].into_boxed_slice());
        &mut chunk[(index % CHUNK_PAGES) as usize]
    }
}

/// A small sorted map. What is under way at one time is little, so that a sorted vector beats a tree, and it
/// allocates nothing once it has grown.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Few<K, V> {
    entries: Vec<(K, V)>,
}

impl<K: Ord + Copy, V> Few<K, V> {
    pub(crate) fn new() -> Few<K, V> {
        Few { entries: Vec::new() }
    }

    fn find(&self, key: K) -> Result<usize, usize> {
        self.entries.binary_search_by(|(k, _)| k.cmp(&key))
    }

    pub(crate) fn get(&self, key: K) -> Option<&V> {
        self.find(key).ok().map(|at| &self.entries[at].1)
    }

    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.find(key).ok().map(|at| &mut self.entries[at].1)
    }

    /// The value for `key`, made by `V::default` if there is none.
    pub(crate) fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let at = self.find(key).unwrap_or_else(|at| {
            self.entries.insert(at, (key, V::default()));
            at
        });
        &mut self.entries[at].1
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.find(key) {
            Ok(at) => self.entries[at].1 = value,
            Err(at) => self.entries.insert(at, (key, value)),
        }
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        self.find(key).ok().map(|at| self.entries.remove(at).1)
    }

    /// Takes out the first entry, in order of keys, that `chosen` chooses.
    pub(crate) fn take_where(&mut self, chosen: impl Fn(&V) -> bool) -> Option<(K, V)> {
        let at = self.entries.iter().position(|(_, v)| chosen(v))?;
        Some(self.entries.remove(at))
    }

    /// Keeps what `chosen` chooses.
    pub(crate) fn retain(&mut self, chosen: impl Fn(K, &V) -> bool) {
        self.entries.retain(|(k, v)| chosen(*k, v));
    }

    /// Takes out the first entry whose key is chosen.
    pub(crate) fn take_first(&mut self, chosen: impl Fn(K) -> bool) -> Option<(K, V)> {
        let at = self.entries.iter().position(|(k, _)| chosen(*k))?;
        Some(self.entries.remove(at))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.entries.iter().map(|(k, v)| (*k, v))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, v)| v)
    }

    /// The entry at a position in order of keys.
    pub(crate) fn at(&self, position: usize) -> Option<(K, &V)> {
        self.entries.get(position).map(|(k, v)| (*k, v))
    }
}
