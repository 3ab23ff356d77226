//! An inner node: children and the fences between them.

/// Leaves that a page holds at most, and how few make it look for a neighbour to merge with.
pub(crate) const PAGE_LEAVES_MAX: usize = 256;

/// See [`PAGE_LEAVES_MAX`].
pub(crate) const PAGE_LEAVES_MIN: usize = 64;

/// Children in key order. Keys of child `i` are at or above fence `i`, keys of the child before
/// are below it. The first fence is never looked at: its place is the parent's fence.
#[derive(Clone)]
pub(crate) struct Node<T> {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// The children.
    pub children: Vec<T>,
}

impl<T: Clone> Node<T> {
    /// Without children.
    pub(crate) fn new() -> Node<T> {
        Node { bytes: Vec::new(), ends: Vec::new(), children: Vec::new() }
    }

    /// Fence `i`.
    pub(crate) fn fence(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.bytes[start..self.ends[i] as usize]
    }

    /// The child under which a key stands or would stand; 0 when there is no child.
    pub(crate) fn position(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.children.len());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.fence(middle) <= key {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Appends a child.
    pub(crate) fn push(&mut self, fence: &[u8], child: T) {
        self.bytes.extend_from_slice(fence);
        self.ends.push(self.bytes.len() as u32);
        self.children.push(child);
    }

    /// Puts children with their fences in the place of `count` children from `at` on.
    pub(crate) fn splice(&mut self, at: usize, count: usize, new: &[(Vec<u8>, T)]) {
        let mut made = Node::new();
        for i in 0..at {
            made.push(self.fence(i), self.children[i].clone());
        }
        for (fence, child) in new {
            made.push(fence, child.clone());
        }
        for i in at + count..self.children.len() {
            made.push(self.fence(i), self.children[i].clone());
        }
        *self = made;
    }

    /// Cuts the children from `at` on off.
    pub(crate) fn split_off(&mut self, at: usize) -> Node<T> {
        let mut right = Node::new();
        for i in at..self.children.len() {
            right.push(self.fence(i), self.children[i].clone());
        }
        self.children.truncate(at);
        self.ends.truncate(at);
        self.bytes.truncate(self.ends.last().map_or(0, |&end| end as usize));
        right
    }

    /// Appends the children of a right neighbour whose first key range begins at `fence`.
    pub(crate) fn append(&mut self, fence: &[u8], right: &Node<T>) {
        for (i, child) in right.children.iter().enumerate() {
            let fence = if i == 0 { fence } else { right.fence(i) };
            self.push(fence, child.clone());
        }
    }
}
