//! A normalised text → the most probable pieces (`Model::EncodeOptimized` in SentencePiece's
//! `unigram_model.cc`).

use super::{PieceKind, PieceProto};
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;

/// How much less probable an unknown character is than the least probable piece (`kUnkPenalty`).
const UNKNOWN_PENALTY: f32 = 10.0;

/// A unigram language model: pieces and the logarithms of their probabilities.
pub(super) struct Unigram {
    pieces: HashMap<String, Piece>,
    /// Bytes of the longest piece.
    longest: usize,
    unknown: u32,
    unknown_score: f32,
    /// The piece of each byte, where unknown characters are spelled.
    bytes: Option<Vec<u32>>,
}

#[derive(Clone, Copy)]
struct Piece {
    id: u32,
    kind: PieceKind,
    score: f32,
}

/// The best way to a place in the text.
#[derive(Clone, Copy, Default)]
struct Step {
    /// Where its last piece begins, and which it is.
    last: Option<(usize, u32)>,
    score: f32,
}

impl Unigram {
    /// A model of these pieces.
    ///
    /// *Errors* when a piece is missing that texts may need.
    pub fn new(pieces: &[PieceProto], spells_unknown: bool) -> Result<Self> {
        let with_ids = || (0u32..).zip(pieces);
        let unknown = with_ids().find(|(_, piece)| piece.kind() == PieceKind::Unknown);
        let (unknown, _) = unknown.context("it has no piece for what is unknown")?;
        let byte = |byte: u32| {
            let name = format!("<0x{byte:02X}>");
            let found =
                with_ids().find(|(_, piece)| piece.kind() == PieceKind::Byte && piece.piece() == name);
            found.map(|(id, _)| id).with_context(|| format!("it has no piece {name}"))
        };
        let is_found = |kind| matches!(kind, PieceKind::Normal | PieceKind::UserDefined | PieceKind::Unused);
        let found = with_ids().filter(|(_, piece)| is_found(piece.kind()) && !piece.piece().is_empty());
        let normal = || pieces.iter().filter(|piece| piece.kind() == PieceKind::Normal);
        let least = normal().map(PieceProto::score).fold(f32::MAX, f32::min);
        ensure!(normal().all(|piece| piece.score().is_finite()), "a piece has no score");
        Ok(Self {
            pieces: found
                .map(|(id, piece)| {
                    (piece.piece().to_owned(), Piece { id, kind: piece.kind(), score: piece.score() })
                })
                .collect(),
            longest: pieces.iter().map(|piece| piece.piece().len()).max().unwrap_or(0),
            unknown,
            unknown_score: least - UNKNOWN_PENALTY,
            bytes: spells_unknown.then(|| (0..=0xff).map(byte).collect::<Result<_>>()).transpose()?,
        })
    }

    /// The ids of the pieces of a text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut best = vec![Step::default(); text.len() + 1];
        for (start, character) in text.char_indices() {
            let score_here = best[start].score;
            // Of two ways that are as probable the rounding decides: sums are made in this order, in f32.
            let mut reach = |end: usize, id: u32, score: f32| {
                let score = score + score_here;
                let step = &mut best[end];
                if step.last.is_none() || score > step.score {
                    *step = Step { last: Some((start, id)), score };
                }
            };
            let after = start + character.len_utf8();
            let mut is_known = false;
            let ends = text[start..].char_indices().map(|(at, c)| start + at + c.len_utf8());
            for end in ends.take_while(|end| end - start <= self.longest) {
                let Some(piece) = self.pieces.get(&text[start..end]) else { continue };
                match piece.kind {
                    PieceKind::Unused => continue,
                    PieceKind::UserDefined => {
                        // Always taken; the length is multiplied by what is 0 but for a rounding there.
                        reach(end, piece.id, (end - start) as f32 * f32::MIN_POSITIVE - 0.1);
                    }
                    _ => reach(end, piece.id, piece.score),
                }
                is_known |= end == after;
            }
            if !is_known {
                reach(after, self.unknown, self.unknown_score);
            }
        }
        let mut steps = Vec::new();
        let mut end = text.len();
        while let Some((start, id)) = best[end].last {
            steps.push((start..end, id));
            end = start;
        }
        let mut ids = Vec::with_capacity(steps.len());
        let mut after_unknown = false;
        for (range, id) in steps.into_iter().rev() {
            let is_unknown = id == self.unknown;
            match &self.bytes {
                Some(bytes) if is_unknown => {
                    ids.extend(text[range].bytes().map(|byte| bytes[usize::from(byte)]))
                }
                // What is unknown in a row is one piece.
                None if is_unknown && after_unknown => {}
                _ => ids.push(id),
            }
            after_unknown = is_unknown;
        }
        ids
    }
}
