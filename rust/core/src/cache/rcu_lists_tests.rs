#![forbid(unsafe_code)]
//! The line of waiting sheaves, and what is written on each.

use super::*;
use crate::sync::Link;

struct Table(Vec<Link>);

impl Links for Table {
    fn link(&self, index: Index) -> &Link {
        &self.0[index as usize]
    }
}

#[test]
fn a_line_is_first_in_first_out() {
    let links = Table((0..6).map(|_| Link::new()).collect());
    let mut line = Line::default();
    for round in 0..3 {
        for sheaf in [3, 1, 5] {
            line.append(&links, sheaf);
        }
        let mut seen = vec![];
        line.visit(&links, |sheaf| seen.push(sheaf));
        assert_eq!(seen, [3, 1, 5], "round {round}");
        for expected in [3, 1] {
            assert_eq!(line.first(), Some(expected));
            line.remove_first(&links);
        }
        line.append(&links, 2);
        for expected in [5, 2] {
            assert_eq!(line.first(), Some(expected));
            line.remove_first(&links);
        }
        assert_eq!(line.first(), None);
        line.visit(&links, |sheaf| panic!("{sheaf} in an empty line"));
    }
}

#[test]
fn what_a_sheaf_waits_for_fits_in_a_word() {
    for cookie in [0, 2, 1 << 40, (1 << 56) - 2] {
        for loose in [false, true] {
            for node in [0, 1, 63] {
                let due = Due { cookie, loose, node };
                assert_eq!(Due::of(due.code()), due);
            }
        }
    }
}
