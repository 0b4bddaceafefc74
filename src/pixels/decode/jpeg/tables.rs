//! What segments before a scan say: quantisation, codes, restart interval, and whose colours they are.

use super::arithmetic::Conditioning;
use super::huffman::{Code, annex_k};
use super::segments::{APP0, APP14, DAC, DHT, DQT, DRI, Segment};
use super::{Broken, JpegError};

/// The factors of the 64 coefficients, in zigzag order.
pub type Quantisation = [u16; 64];

/// All tables, each under its number. They hold until they are replaced.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    pub quantisation: [Option<Quantisation>; 4],
    pub dc: [Option<Code>; 4],
    pub ac: [Option<Code>; 4],
    pub conditioning: Conditioning,
    /// In MCUs; 0: none.
    pub restart_interval: u32,
    /// There is a JFIF segment.
    pub is_jfif: bool,
    /// The colour transform in Adobe's segment.
    pub adobe: Option<u8>,
}

impl Tables {
    /// Takes what a segment says, if it is one of these.
    ///
    /// *Errors* when it is not made as T.81 B.2.4 wants it.
    pub fn take(&mut self, segment: Segment) -> Result<(), JpegError> {
        match (segment.marker, segment.body) {
            (DQT, body) => self.take_quantisation(body),
            (DHT, body) => self.take_codes(body),
            (DAC, body) => self.conditioning.take(body),
            (DRI, &[high, low]) => {
                self.restart_interval = u16::from_be_bytes([high, low]).into();
                Ok(())
            }
            (DRI, _) => Err(Broken("a restart interval is not two bytes")),
            (APP0, body) => {
                self.is_jfif |= body.len() >= 14 && body.starts_with(b"JFIF\0");
                Ok(())
            }
            (APP14, [b'A', b'd', b'o', b'b', b'e', _, _, _, _, _, _, transform, ..]) => {
                self.adobe = Some(*transform);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Puts the codes of annex K where the file has none.
    pub fn complete_codes(&mut self) {
        let (dc, ac) = annex_k();
        for (tables, known) in [(&mut self.dc, dc), (&mut self.ac, ac)] {
            for (table, known) in tables.iter_mut().zip(known) {
                table.get_or_insert(known);
            }
        }
    }

    fn take_quantisation(&mut self, mut body: &[u8]) -> Result<(), JpegError> {
        const SHORT: JpegError = Broken("a quantisation table is cut short");
        while let Some((selector, rest)) = body.split_first() {
            let table = self.quantisation.get_mut(usize::from(selector & 15));
            let table = table.ok_or(Broken("a quantisation table has no valid number"))?.insert([0; 64]);
            if selector >> 4 == 0 {
                let (factors, rest) = rest.split_first_chunk::<64>().ok_or(SHORT)?;
                table.iter_mut().zip(factors).for_each(|(to, factor)| *to = (*factor).into());
                body = rest;
            } else {
                let (factors, rest) = rest.split_first_chunk::<128>().ok_or(SHORT)?;
                let (factors, _) = factors.as_chunks();
                table.iter_mut().zip(factors).for_each(|(to, factor)| *to = u16::from_be_bytes(*factor));
                body = rest;
            }
        }
        Ok(())
    }

    fn take_codes(&mut self, mut body: &[u8]) -> Result<(), JpegError> {
        const SHORT: JpegError = Broken("a Huffman table is cut short");
        while let Some((selector, rest)) = body.split_first() {
            let tables = match selector >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return Err(Broken("a Huffman table is of no valid class")),
            };
            let table = tables.get_mut(usize::from(selector & 15));
            let table = table.ok_or(Broken("a Huffman table has no valid number"))?;
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            let total: usize = counts.iter().map(|count| usize::from(*count)).sum();
            if total > 256 {
                return Err(Broken("a Huffman table has too many codes"));
            }
            let (symbols, rest) = rest.split_at_checked(total).ok_or(SHORT)?;
            *table = Some(Code { counts: *counts, symbols: symbols.to_vec() });
            body = rest;
        }
        Ok(())
    }
}
