//! A list as pieces of bytes, from which it is made again without looking at single entries.
//!
//! ```text
//!   page       length fence  *( length fence  length leaf )        a piece each
//!   locations  *( holders  length octets )                         one piece for all
//!   acls       *( holders  owner-first (1 octet)  length octets )  one piece for all
//! ```
//!
//! Lengths and numbers of holders are 4 octets, low first. Leaves stand as they are in memory.
//! Whoever keeps pieces keeps a checksum of each: a leaf is not looked into when it is read.

use std::sync::Arc;

use protocols::proxy::Location;

use super::leaf::{self, Leaf, Walk};
use super::node::Node;
use super::table::Interner;
use super::{Acl, Editor, List};

/// Gives the pieces of a list.
pub struct Image<'a> {
    list: &'a List,
    /// Who holds which location and ACL, counted page by page.
    locations: Vec<u32>,
    acls: Vec<u32>,
    next: usize,
}

/// A piece of an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// The next page.
    Page(Vec<u8>),
    /// All locations; behind the last page.
    Locations(Vec<u8>),
    /// All ACLs; the last piece.
    Acls(Vec<u8>),
}

impl<'a> Image<'a> {
    /// Begins with a list.
    pub fn new(list: &'a List) -> Image<'a> {
        let (locations, acls) = (vec![0; list.locations.len()], vec![0; list.acls.len()]);
        Image { list, locations, acls, next: 0 }
    }

    fn page(&mut self, number: usize) -> Vec<u8> {
        let (root, page) = (&self.list.root, &self.list.root.children[number]);
        let mut out = Vec::new();
        put(root.fence(number), &mut out);
        let mut key = Vec::new();
        for (i, leaf) in page.children.iter().enumerate() {
            put(page.fence(i), &mut out);
            put(leaf, &mut out);
            let mut walk = Walk::new(leaf);
            while let Some(value) = walk.next(&mut key) {
                self.locations[value.location as usize] += 1;
                self.acls[value.acl as usize] += 1;
            }
        }
        out
    }
}

impl Iterator for Image<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let number = self.next;
        self.next += 1;
        let pages = self.list.root.children.len();
        let mut out = Vec::new();
        match number.checked_sub(pages) {
            None => Some(Piece::Page(self.page(number))),
            Some(0) => {
                for (number, holders) in self.locations.iter().enumerate() {
                    out.extend_from_slice(&holders.to_le_bytes());
                    put(&self.list.locations.at(number as u32).0, &mut out);
                }
                Some(Piece::Locations(out))
            }
            Some(1) => {
                for (number, holders) in self.acls.iter().enumerate() {
                    let acl = self.list.acls.at(number as u32);
                    out.extend_from_slice(&holders.to_le_bytes());
                    out.push(u8::from(acl.owner_first));
                    put(&acl.text, &mut out);
                }
                Some(Piece::Acls(out))
            }
            Some(_) => None,
        }
    }
}

/// Makes a list of its pieces.
pub struct Restore {
    root: Node<Arc<Node<Leaf>>>,
    len: usize,
    locations: Option<Interner<Location>>,
}

impl Default for Restore {
    fn default() -> Restore {
        Restore::new()
    }
}

impl Restore {
    /// Begins with nothing.
    pub fn new() -> Restore {
        Restore { root: Node::new(), len: 0, locations: None }
    }

    /// Takes the next page; `None` when it makes no sense.
    pub fn page(&mut self, mut piece: &[u8]) -> Option<()> {
        let own = take(&mut piece)?;
        let mut page = Node::new();
        while !piece.is_empty() {
            let fence = take(&mut piece)?;
            let leaf = take(&mut piece).filter(|leaf| leaf.len() >= leaf::HEAD_BYTES)?;
            self.len += leaf::len(leaf);
            page.push(fence, Leaf::from(leaf));
        }
        self.root.push(own, Arc::new(page));
        Some(())
    }

    /// Takes the locations; `None` when they make no sense.
    pub fn locations(&mut self, mut piece: &[u8]) -> Option<()> {
        let mut values = Vec::new();
        while !piece.is_empty() {
            let holders = number(&mut piece)?;
            values.push((Location(take(&mut piece)?.into()), holders));
        }
        self.locations = Some(Interner::restore(values));
        Some(())
    }

    /// Takes the ACLs, which complete the list; `None` when they make no sense.
    pub fn acls(self, mut piece: &[u8]) -> Option<Editor> {
        let mut values = Vec::new();
        while !piece.is_empty() {
            let holders = number(&mut piece)?;
            let (owner_first, rest) = piece.split_first()?;
            piece = rest;
            values.push((Acl { owner_first: *owner_first != 0, text: take(&mut piece)?.into() }, holders));
        }
        Some(Editor::assemble(self.root, self.len, self.locations?, Interner::restore(values)))
    }
}

fn put(bytes: &[u8], out: &mut Vec<u8>) {
    // Leaves, fences, locations and ACLs are all far below 4 GiB.
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn number(piece: &mut &[u8]) -> Option<u32> {
    let (number, rest) = piece.split_first_chunk::<4>()?;
    *piece = rest;
    Some(u32::from_le_bytes(*number))
}

fn take<'a>(piece: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = number(piece)? as usize;
    let (bytes, rest) = piece.split_at_checked(len)?;
    *piece = rest;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use protocols::proxy::Change;

    use super::super::generate::Generator;
    use super::*;

    fn rows(list: &List) -> Vec<Change> {
        let mut cursor = list.iter_from(b"");
        let mut rows = Vec::new();
        while let Some(row) = cursor.next() {
            rows.push(row.change());
        }
        rows
    }

    fn restored(list: &List) -> Editor {
        let mut restore = Restore::new();
        for piece in Image::new(list) {
            match piece {
                Piece::Page(bytes) => restore.page(&bytes).unwrap(),
                Piece::Locations(bytes) => restore.locations(&bytes).unwrap(),
                Piece::Acls(bytes) => return restore.acls(&bytes).unwrap(),
            }
        }
        panic!("the ACLs come last")
    }

    #[test]
    fn a_list_made_of_its_image_goes_on_like_the_list() {
        let mut editor = Editor::empty();
        let all: Vec<Change> = Generator::new(3, 5).take(6_000).collect();
        for change in &all {
            editor.apply(change);
        }
        for change in all.iter().step_by(3) {
            editor.apply(&Change::Deleted { name: change.name().into() });
        }
        let list = editor.publish();
        let mut again = restored(&list);
        assert_eq!(again.len(), editor.len());
        assert_eq!(again.shared_values(), editor.shared_values());
        assert!(rows(&again.publish()) == rows(&list));
        for change in Generator::new(4, 9).take(1_000) {
            assert_eq!(again.apply(&change), editor.apply(&change));
        }
        for change in &all {
            let gone = Change::Deleted { name: change.name().into() };
            assert_eq!(again.apply(&gone), editor.apply(&gone));
        }
        assert_eq!(again.shared_values(), editor.shared_values(), "what is deleted is held by nobody");
        assert!(rows(&again.publish()) == rows(&editor.publish()));
    }

    #[test]
    fn an_empty_list_has_an_image() {
        assert!(restored(&List::empty()).is_empty());
    }

    #[test]
    fn a_piece_that_is_cut_short_makes_no_sense() {
        let mut editor = Editor::empty();
        for change in Generator::new(3, 5).take(300) {
            editor.apply(&change);
        }
        let list = editor.publish();
        let Some(Piece::Page(page)) = Image::new(&list).next() else { panic!("pages come first") };
        for cut in [1, page.len() / 2, page.len() - 1] {
            assert!(Restore::new().page(&page[..cut]).is_none());
        }
        assert!(Restore::new().locations(b"\x01\0\0\0\xff\0\0\0abc").is_none());
        assert!(Restore::new().acls(b"").is_none(), "without locations");
    }
}
