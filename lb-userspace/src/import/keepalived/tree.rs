//! Blocks out of lines.

use super::source::{Line, Word};
use crate::import::error::Error;
use crate::import::ledger::{Ledger, Place};

/// A statement: words, and perhaps a block.
#[derive(Debug)]
pub(super) struct Node {
    pub words: Vec<String>,
    /// Its own lines.
    pub places: Vec<Place>,
    /// The lines of its braces.
    braces: Vec<Place>,
    pub is_block: bool,
    pub children: Vec<Node>,
}

/// Blocks within blocks at most.
const DEPTH: usize = 16;

impl Node {
    /// The first word.
    pub(super) fn word(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The words behind the first.
    pub(super) fn args(&self) -> Vec<&str> {
        self.words.iter().skip(1).map(String::as_str).collect()
    }

    /// The word behind the first.
    pub(super) fn arg(&self) -> Option<&str> {
        self.words.get(1).map(String::as_str)
    }

    /// Its words.
    pub(super) fn what(&self) -> String {
        self.words.join(" ")
    }

    /// Its lines with those of its braces, but not of what is in it.
    pub(super) fn own(&self) -> Vec<Place> {
        let mut all = self.places.clone();
        all.extend(&self.braces);
        all
    }

    /// All its lines.
    pub(super) fn all(&self) -> Vec<Place> {
        let mut all = self.own();
        all.extend(self.children.iter().flat_map(Node::all));
        all
    }

    /// Where it begins.
    pub(super) fn place(&self) -> Place {
        self.places.first().copied().unwrap_or(Place { file: 0, line: 0 })
    }
}

/// Makes the tree.
pub(super) fn build(lines: Vec<Line>, ledger: &Ledger) -> Result<Vec<Node>, Error> {
    let mut open: Vec<Node> = Vec::new();
    let mut top: Vec<Node> = Vec::new();
    for Line { words, places } in lines {
        let at = places.first().copied().unwrap_or(Place { file: 0, line: 0 });
        let fault = |message: &str, mend: &str| Error::at(ledger.name(at.file), at.line, message, mend);
        let mut pending: Vec<String> = Vec::new();
        let last = words.len().saturating_sub(1);
        for (number, Word { text, quoted }) in words.into_iter().enumerate() {
            match &text[..] {
                "{" if !quoted => {
                    let mut node = match (pending.is_empty(), siblings(&mut open, &mut top)) {
                        (false, _) => node(std::mem::take(&mut pending), &places),
                        // The brace of a statement on the line before.
                        (true, siblings) if siblings.last().is_some_and(|node| !node.is_block) => {
                            siblings.pop().unwrap_or_else(|| node(Vec::new(), &places))
                        }
                        _ => return Err(fault("a block has no name", "write what it is before its \"{\"")),
                    };
                    node.braces.extend(&places);
                    node.is_block = true;
                    if open.len() >= DEPTH {
                        return Err(fault("blocks stand too deep in each other", "close those before it"));
                    }
                    open.push(node);
                }
                "}" if !quoted => {
                    if !pending.is_empty() {
                        let node = node(std::mem::take(&mut pending), &places);
                        siblings(&mut open, &mut top).push(node);
                    }
                    let Some(mut closed) = open.pop() else {
                        return Err(fault("this \"}\" closes no block", "remove it, or open the block"));
                    };
                    closed.braces.extend(&places);
                    siblings(&mut open, &mut top).push(closed);
                }
                word if !quoted && number == last && word.len() > 1 && word.ends_with('{') => {
                    pending.push(word.trim_end_matches('{').to_owned());
                    let mut node = node(std::mem::take(&mut pending), &places);
                    node.is_block = true;
                    if open.len() >= DEPTH {
                        return Err(fault("blocks stand too deep in each other", "close those before it"));
                    }
                    open.push(node);
                }
                _ => pending.push(text),
            }
        }
        if !pending.is_empty() {
            siblings(&mut open, &mut top).push(node(pending, &places));
        }
    }
    if let Some(unclosed) = open.first() {
        let at = unclosed.place();
        let message = format!("the block \"{}\" isn't closed", unclosed.what());
        return Err(Error::at(ledger.name(at.file), at.line, message, "write its \"}\""));
    }
    Ok(top)
}

fn siblings<'a>(open: &'a mut [Node], top: &'a mut Vec<Node>) -> &'a mut Vec<Node> {
    match open.last_mut() {
        Some(node) => &mut node.children,
        None => top,
    }
}

fn node(words: Vec<String>, places: &[Place]) -> Node {
    Node { words, places: places.to_vec(), braces: Vec::new(), is_block: false, children: Vec::new() }
}
