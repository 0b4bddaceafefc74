//! A HEIF file (ISO/IEC 23008-12) → its primary picture: how it is coded, where its bytes are, what is to
//! be done with it after it is decoded.
//!
//! HEIC and AVIF differ in nothing here but the names of their codings. avif-parse knows neither grids
//! nor the properties that turn a picture, and heic-decoder keeps what it knows to itself.

use super::super::boxes::{Damaged, Numbers, boxes, first_box};
use super::{check_size, not_decoded};
use crate::PixelsError;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What is said instead of a layer where all of them are meant.
const ALL_LAYERS: u16 = 0xffff;

/// The most properties of an item; so many can be told in one go.
const MAX_PROPERTIES: usize = 255;
/// The most bytes of the tiles of a grid together, where they are more than the file has.
const SHARED_TILES_BYTES: usize = 16 << 20;

/// A picture as the file describes it.
#[derive(Debug)]
pub struct Described<'a> {
    /// Width and height in pixels, before it is turned.
    pub size: (u32, u32),
    /// Colours, where the container says them.
    pub colours: Option<Colours>,
    pub source: Source<'a>,
    /// What is done with the picture, in this order.
    pub changes: Vec<Change>,
}

/// What a picture is made from.
#[derive(Debug)]
pub enum Source<'a> {
    Coded(Coded<'a>),
    /// Coded pictures of one size, row by row.
    Grid {
        columns: usize,
        tiles: Vec<Coded<'a>>,
    },
}

/// A coded picture.
#[derive(Debug)]
pub struct Coded<'a> {
    pub coding: Coding,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// The body of `hvcC` or `av1C`.
    pub configuration: &'a [u8],
    pub bytes: Cow<'a, [u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Hevc,
    Av1,
}

/// What samples mean (ITU-T H.273).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colours {
    pub primaries: u16,
    pub matrix: u16,
    pub is_full_range: bool,
}

/// What is done with a decoded picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Turned by so many quarters, against the clock.
    Turn(u8),
    MirrorLeftRight,
    MirrorTopBottom,
    Crop(CleanAperture),
}

/// A window, given by its size and by how far its centre is from the picture's, as fractions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanAperture {
    pub width: (u32, u32),
    pub height: (u32, u32),
    pub right: (i32, u32),
    pub down: (i32, u32),
}

/// Reads what a file says of its primary picture.
///
/// *Errors* when it has none, or one that clipclass cannot decode.
pub fn describe(file: &[u8]) -> Result<Described<'_>, PixelsError> {
    let meta = first_box(file, b"meta")?.ok_or(not_decoded("HEIF without a still picture"))?;
    let mut meta = Numbers(meta);
    meta.version_and_flags()?;
    Items::read(file, meta.0)?.primary()
}

/// What a file says of its items.
struct Items<'a> {
    file: &'a [u8],
    /// Bytes of small items.
    nearby: &'a [u8],
    primary: u32,
    kinds: BTreeMap<u32, [u8; 4]>,
    places: BTreeMap<u32, Place>,
    properties: Vec<([u8; 4], &'a [u8])>,
    /// Numbers of properties, counted from 1, and whether an item cannot be shown without.
    owned: BTreeMap<u32, Vec<(usize, Need)>>,
    /// Items that an item is derived from.
    sources: BTreeMap<u32, Vec<u32>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Essential,
    Optional,
}

/// Where an item's bytes are.
struct Place {
    /// 0: in the file, 1: in `idat`.
    method: u16,
    /// Offsets and lengths; length 0 is to the end.
    extents: Vec<(u64, u64)>,
}

impl<'a> Items<'a> {
    fn read(file: &'a [u8], meta: &'a [u8]) -> Result<Self, PixelsError> {
        let body = |name| first_box(meta, name);
        let mut primary = Numbers(body(b"pitm")?.ok_or(not_decoded("HEIF without a primary picture"))?);
        let (version, _) = primary.version_and_flags()?;
        let properties = body(b"iprp")?.unwrap_or_default();
        Ok(Self {
            file,
            nearby: body(b"idat")?.unwrap_or_default(),
            primary: primary.number(if version == 0 { 2 } else { 4 })? as u32,
            kinds: kinds(body(b"iinf")?.unwrap_or_default())?,
            places: places(body(b"iloc")?.unwrap_or_default())?,
            properties: boxes(first_box(properties, b"ipco")?.unwrap_or_default())
                .collect::<Result<_, _>>()?,
            owned: owned(properties)?,
            sources: sources(body(b"iref")?.unwrap_or_default())?,
        })
    }

    fn primary(&self) -> Result<Described<'a>, PixelsError> {
        let mut item = self.primary;
        let mut changes = vec![self.changes(item)?];
        // A picture that is another one, changed.
        while self.kind(item)? == *b"iden" {
            item = match self.sources.get(&item).map(Vec::as_slice) {
                Some(&[source]) => source,
                _ => return Err(Damaged.into()),
            };
            changes.push(self.changes(item)?);
            if changes.len() > 8 {
                return Err(not_decoded("HEIF with pictures derived from each other"));
            }
        }
        // The innermost is changed first.
        let changes = changes.into_iter().rev().flatten().collect();
        let (size, source) = match &self.kind(item)? {
            b"grid" => self.grid(item)?,
            _ => {
                let coded = self.coded(item)?;
                (coded.size, Source::Coded(coded))
            }
        };
        let colours = match self.colours(item)? {
            Some(colours) => Some(colours),
            // The tiles of a grid are alike.
            None => self
                .sources
                .get(&item)
                .and_then(|tiles| tiles.first())
                .map_or(Ok(None), |&tile| self.colours(tile))?,
        };
        Ok(Described { size, colours, source, changes })
    }

    fn kind(&self, item: u32) -> Result<[u8; 4], Damaged> {
        self.kinds.get(&item).copied().ok_or(Damaged)
    }

    fn grid(&self, item: u32) -> Result<((u32, u32), Source<'a>), PixelsError> {
        let bytes = self.bytes(item)?;
        let mut numbers = Numbers(&bytes);
        let (_, flags) = (numbers.u8()?, numbers.u8()?);
        let (rows, columns) = (usize::from(numbers.u8()?) + 1, usize::from(numbers.u8()?) + 1);
        let length = if flags & 1 == 0 { 2 } else { 4 };
        let size = (numbers.number(length)? as u32, numbers.number(length)? as u32);
        check_size(size)?;
        let tiles = self.sources.get(&item).map(Vec::as_slice).unwrap_or_default();
        if tiles.len() != rows * columns {
            return Err(Damaged.into());
        }
        let mut coded_bytes = 0;
        let tiles = tiles.iter().map(|&tile| {
            // A tile that is turned by itself has never been seen.
            if !self.changes(tile)?.is_empty() {
                return Err(not_decoded("HEIF with a grid of turned pictures"));
            }
            let coded = self.coded(tile)?;
            // Tiles may share their bytes, but each is decoded by itself.
            coded_bytes += coded.bytes.len();
            if coded_bytes > SHARED_TILES_BYTES.max(self.file.len()) {
                return Err(PixelsError::Limit(
                    "the pictures of the grid have more bytes than the file, because they share them; save the image anew".into(),
                ));
            }
            Ok(coded)
        });
        let tiles: Vec<_> = tiles.collect::<Result<_, _>>()?;
        let (width, height) = tiles[0].size;
        let covers = |tile: u32, count: usize, whole: u32| {
            let (tile, count, whole) = (u64::from(tile), count as u64, u64::from(whole));
            tile * count >= whole && tile * (count - 1) < whole
        };
        if tiles.iter().any(|tile| tile.size != (width, height) || tile.coding != tiles[0].coding)
            || !covers(width, columns, size.0)
            || !covers(height, rows, size.1)
        {
            return Err(not_decoded("HEIF with a grid of pictures that do not fit together"));
        }
        // Narrow pictures of wide tiles would cost more than they show.
        check_size((width, (height.saturating_mul(tiles.len() as u32) / 2).max(1)))?;
        Ok((size, Source::Grid { columns, tiles }))
    }

    fn coded(&self, item: u32) -> Result<Coded<'a>, PixelsError> {
        let (coding, name) = match &self.kind(item)? {
            b"hvc1" | b"hev1" => (Coding::Hevc, b"hvcC"),
            b"av01" => (Coding::Av1, b"av1C"),
            b"jpeg" => return Err(not_decoded("HEIF with a JPEG picture")),
            b"j2k1" => return Err(not_decoded("HEIF with a JPEG 2000 picture")),
            b"avc1" => return Err(not_decoded("HEIF with an H.264 picture")),
            b"vvc1" => return Err(not_decoded("HEIF with an H.266 picture")),
            b"unci" => return Err(not_decoded("HEIF with an uncompressed picture")),
            b"iovl" => return Err(not_decoded("HEIF with an overlay of pictures")),
            b"tmap" => return Err(not_decoded("HEIF with a tone-mapped primary picture")),
            _ => return Err(not_decoded("HEIF with a picture of unknown coding")),
        };
        let mut size = Numbers(self.property(item, b"ispe").ok_or(Damaged)?);
        size.version_and_flags()?;
        let size = (size.u32()?, size.u32()?);
        check_size(size)?;
        let configuration = self.property(item, name).ok_or(Damaged)?;
        Ok(Coded { coding, size, configuration, bytes: self.bytes(item)? })
    }

    fn bytes(&self, item: u32) -> Result<Cow<'a, [u8]>, PixelsError> {
        let place = self.places.get(&item).ok_or(Damaged)?;
        let from = match place.method {
            0 => self.file,
            1 => self.nearby,
            _ => return Err(not_decoded("HEIF with pictures within other items")),
        };
        let extent = |&(offset, length): &(u64, u64)| {
            let from = from.get(usize::try_from(offset).ok()?..)?;
            let length = if length == 0 { from.len() } else { usize::try_from(length).ok()? };
            from.get(..length)
        };
        let extents: Vec<_> = place.extents.iter().map(extent).collect::<Option<_>>().ok_or(Damaged)?;
        match extents.as_slice() {
            [] => Err(Damaged.into()),
            [extent] => Ok(Cow::Borrowed(extent)),
            // The same bytes may be named many times.
            extents if extents.iter().map(|extent| extent.len()).sum::<usize>() > self.file.len() => {
                Err(Damaged.into())
            }
            extents => Ok(Cow::Owned(extents.concat())),
        }
    }

    fn properties_of(&self, item: u32) -> impl Iterator<Item = ([u8; 4], &'a [u8], Need)> {
        let owned = self.owned.get(&item).map(Vec::as_slice).unwrap_or_default();
        owned.iter().filter_map(|&(number, need)| {
            let (name, body) = self.properties.get(number.checked_sub(1)?)?;
            Some((*name, *body, need))
        })
    }

    fn property(&self, item: u32, name: &[u8; 4]) -> Option<&'a [u8]> {
        self.properties_of(item).find(|(found, ..)| found == name).map(|(_, body, _)| body)
    }

    fn colours(&self, item: u32) -> Result<Option<Colours>, Damaged> {
        let mut bodies =
            self.properties_of(item).filter(|(name, ..)| name == b"colr").map(|(_, body, _)| body);
        let Some(body) = bodies.find_map(|body| body.strip_prefix(b"nclx")) else { return Ok(None) };
        let mut numbers = Numbers(body);
        let (primaries, _transfer, matrix) = (numbers.u16()?, numbers.u16()?, numbers.u16()?);
        Ok(Some(Colours { primaries, matrix, is_full_range: numbers.u8()? & 0x80 != 0 }))
    }

    fn changes(&self, item: u32) -> Result<Vec<Change>, PixelsError> {
        let mut changes = Vec::new();
        for (name, body, need) in self.properties_of(item) {
            let mut numbers = Numbers(body);
            match &name {
                b"irot" => changes.push(Change::Turn(numbers.u8()? & 3)),
                b"imir" if numbers.u8()? & 1 == 0 => changes.push(Change::MirrorTopBottom),
                b"imir" => changes.push(Change::MirrorLeftRight),
                b"clap" => changes.push(Change::Crop(CleanAperture {
                    width: (numbers.u32()?, numbers.u32()?),
                    height: (numbers.u32()?, numbers.u32()?),
                    right: (numbers.u32()? as i32, numbers.u32()?),
                    down: (numbers.u32()? as i32, numbers.u32()?),
                })),
                b"lsel" if numbers.u16()? != ALL_LAYERS => {
                    return Err(not_decoded("HEIF with one layer of several"));
                }
                b"a1op" if numbers.u8()? != 0 => {
                    return Err(not_decoded("AVIF with one operating point of several"));
                }
                b"ispe" | b"pixi" | b"colr" | b"hvcC" | b"av1C" | b"pasp" | b"auxC" | b"clli" | b"mdcv"
                | b"cclv" | b"a1lx" | b"a1op" | b"lsel" | b"rloc" | b"amve" | b"udes" | b"altt" | b"lhvC" => {
                }
                // Nobody may show the picture without knowing what this means.
                _ if need == Need::Essential => {
                    return Err(not_decoded(&format!("HEIF with the property \"{}\"", name.escape_ascii())));
                }
                _ => {}
            }
        }
        Ok(changes)
    }
}

fn kinds(body: &[u8]) -> Result<BTreeMap<u32, [u8; 4]>, Damaged> {
    let mut kinds = BTreeMap::new();
    if body.is_empty() {
        return Ok(kinds);
    }
    let mut numbers = Numbers(body);
    let (version, _) = numbers.version_and_flags()?;
    numbers.number(if version == 0 { 2 } else { 4 })?;
    for entry in boxes(numbers.0) {
        let (b"infe", body) = entry.as_ref().map(|(name, body)| (name, *body)).map_err(|damaged| *damaged)?
        else {
            continue;
        };
        let mut entry = Numbers(body);
        let (version, _) = entry.version_and_flags()?;
        // Older ones are for other things than pictures.
        if version >= 2 {
            let item = entry.number(if version == 2 { 2 } else { 4 })? as u32;
            let _protection = entry.u16()?;
            kinds.insert(item, entry.name()?);
        }
    }
    Ok(kinds)
}

fn places(body: &[u8]) -> Result<BTreeMap<u32, Place>, Damaged> {
    let mut places = BTreeMap::new();
    if body.is_empty() {
        return Ok(places);
    }
    let mut numbers = Numbers(body);
    let (version, _) = numbers.version_and_flags()?;
    let lengths = numbers.u16()?;
    let [offset_bytes, length_bytes, base_bytes, index_bytes] =
        [12, 8, 4, 0].map(|shift| usize::from(lengths >> shift & 0xf));
    let index_bytes = if version == 0 { 0 } else { index_bytes };
    if [offset_bytes, length_bytes, base_bytes, index_bytes].iter().any(|length| *length > 8) {
        return Err(Damaged);
    }
    let id_bytes = if version < 2 { 2 } else { 4 };
    for _ in 0..numbers.number(id_bytes)? {
        let item = numbers.number(id_bytes)? as u32;
        let method = if version == 0 { 0 } else { numbers.u16()? & 0xf };
        let _file = numbers.u16()?;
        let base = numbers.number(base_bytes)?;
        let mut extents = Vec::new();
        // A number of no bytes could be told without end.
        let count = usize::from(numbers.u16()?);
        if count > 1 && index_bytes + offset_bytes + length_bytes == 0 {
            return Err(Damaged);
        }
        for _ in 0..count {
            numbers.number(index_bytes)?;
            let offset = base.checked_add(numbers.number(offset_bytes)?).ok_or(Damaged)?;
            extents.push((offset, numbers.number(length_bytes)?));
        }
        places.insert(item, Place { method, extents });
    }
    Ok(places)
}

fn owned(properties: &[u8]) -> Result<BTreeMap<u32, Vec<(usize, Need)>>, Damaged> {
    let mut owned = BTreeMap::<u32, Vec<_>>::new();
    for found in boxes(properties) {
        let (b"ipma", body) = found.as_ref().map(|(name, body)| (name, *body)).map_err(|damaged| *damaged)?
        else {
            continue;
        };
        let mut numbers = Numbers(body);
        let (version, flags) = numbers.version_and_flags()?;
        let bytes = if flags & 1 == 0 { 1 } else { 2 };
        let essential = 0x80 << (8 * (bytes - 1));
        for _ in 0..numbers.u32()? {
            let item = numbers.number(if version == 0 { 2 } else { 4 })? as u32;
            for _ in 0..numbers.u8()? {
                let number = numbers.number(bytes)?;
                let need = if number & essential == 0 { Need::Optional } else { Need::Essential };
                let owned = owned.entry(item).or_default();
                if owned.len() == MAX_PROPERTIES {
                    return Err(Damaged);
                }
                owned.push(((number & !essential) as usize, need));
            }
        }
    }
    Ok(owned)
}

/// What items are derived from; other references do not matter here.
fn sources(body: &[u8]) -> Result<BTreeMap<u32, Vec<u32>>, Damaged> {
    let mut sources = BTreeMap::new();
    if body.is_empty() {
        return Ok(sources);
    }
    let mut numbers = Numbers(body);
    let (version, _) = numbers.version_and_flags()?;
    let id_bytes = if version == 0 { 2 } else { 4 };
    for reference in boxes(numbers.0) {
        let (b"dimg", body) =
            reference.as_ref().map(|(name, body)| (name, *body)).map_err(|damaged| *damaged)?
        else {
            continue;
        };
        let mut reference = Numbers(body);
        let item = reference.number(id_bytes)? as u32;
        let count = reference.u16()?;
        let from =
            (0..count).map(|_| Ok(reference.number(id_bytes)? as u32)).collect::<Result<_, Damaged>>()?;
        sources.insert(item, from);
    }
    Ok(sources)
}
