//! A tree that is written from left to right.

use std::sync::Arc;

use super::key;
use super::leaf::{Encoder, LEAF_BYTES_MAX, LEAF_ENTRIES_MAX, Leaf, Value};
use super::node::{Node, PAGE_LEAVES_MAX};

/// How full leaves and pages are made: a little room is left for what is created later.
const FILL_LEAF: usize = LEAF_ENTRIES_MAX * 15 / 16;
const FILL_PAGE: usize = PAGE_LEAVES_MAX * 15 / 16;

/// A tree that grows at its right end.
pub(super) struct Tree {
    root: Node<Arc<Node<Leaf>>>,
    page: Node<Leaf>,
    page_fence: Vec<u8>,
    leaf: Encoder,
    leaf_fence: Vec<u8>,
    len: usize,
}

impl Tree {
    pub(super) fn new() -> Tree {
        Tree {
            root: Node::new(),
            page: Node::new(),
            page_fence: Vec::new(),
            leaf: Encoder::default(),
            leaf_fence: Vec::new(),
            len: 0,
        }
    }

    /// Entries so far.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether a key may be pushed.
    pub(super) fn is_behind(&self, key: &[u8]) -> bool {
        self.len == 0 || self.leaf.last() < key
    }

    /// Puts an entry at the end; its key [`is_behind`](Tree::is_behind).
    pub(super) fn push(&mut self, key: &[u8], value: Value) {
        if self.leaf.len() >= FILL_LEAF || self.leaf.bytes() > LEAF_BYTES_MAX / 2 {
            let fence = key[key::fence(self.leaf.last(), key)].to_vec();
            self.end_leaf();
            self.leaf_fence = fence;
        }
        self.leaf.push(key, value);
        self.len += 1;
    }

    fn end_leaf(&mut self) {
        let leaf = self.leaf.finish();
        if self.page.children.len() >= FILL_PAGE {
            self.end_page();
        }
        if self.page.children.is_empty() {
            self.page_fence.clone_from(&self.leaf_fence);
        }
        self.page.push(&self.leaf_fence, leaf);
    }

    fn end_page(&mut self) {
        let page = std::mem::replace(&mut self.page, Node::new());
        self.root.push(&self.page_fence, Arc::new(page));
    }

    /// The root, and how many entries it holds.
    pub(super) fn finish(mut self) -> (Node<Arc<Node<Leaf>>>, usize) {
        if self.leaf.len() > 0 {
            self.end_leaf();
        }
        if !self.page.children.is_empty() {
            self.end_page();
        }
        (self.root, self.len)
    }
}
