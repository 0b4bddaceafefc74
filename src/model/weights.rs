//! Weight files → named tensors of known shape.
//!
//! Safetensors files are mapped, and f32 tensors are used where they lie: nothing is read before
//! a layer needs it, and processes that run side by side share the pages. Tensors of f16 and bf16
//! are widened when asked for, and those of a `.bin` file unpickled then.

use super::layout::Layout;
use crate::hub::{FileRole, OpenFile, WeightFiles};
use anyhow::{Context, Result, bail};
use candle_core::pickle::PthTensors;
use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::ops::{Deref, Range};
use std::slice;
use std::sync::Arc;

/// All tensors of a checkpoint.
pub struct Weights {
    layout: Layout,
    /// By the names in the files.
    views: HashMap<String, View>,
    files: Vec<Arc<OpenFile>>,
}

impl Weights {
    /// Maps the files and reads their tables of contents.
    ///
    /// *Errors* when a file is missing, cut off or not of its format.
    pub fn open(files: &WeightFiles, layout: Layout) -> Result<Self> {
        let paths = match files {
            WeightFiles::Safetensors(paths) => paths.as_slice(),
            WeightFiles::Pickle(path) => slice::from_ref(path),
        };
        let mut weights = Self { layout, views: HashMap::new(), files: Vec::new() };
        for path in paths {
            let file = Arc::new(OpenFile::open(FileRole::Weights, path)?);
            let views = match files {
                WeightFiles::Safetensors(_) => map(&file),
                WeightFiles::Pickle(_) => unpickle(&file),
            };
            weights.views.extend(views.with_context(|| format!("cannot read {}", path.display()))?);
            weights.files.push(file);
        }
        Ok(weights)
    }

    /// The files, which stay open while a tensor of theirs is used.
    pub fn files(&self) -> &[Arc<OpenFile>] {
        &self.files
    }

    /// The tensor with that [canonical name](super::layout).
    ///
    /// *Errors* when it is missing or has another shape, naming what was found and where.
    pub fn view(&self, canonical: &str, shape: &[usize]) -> Result<View> {
        let name = self.layout.name_of(canonical);
        let files = || {
            let names: Vec<_> = self.files.iter().map(|f| f.path().display().to_string()).collect();
            names.join(", ")
        };
        let Some(view) = self.views.get(&name) else {
            bail!("{}: tensor {name} {shape:?} is missing among {} tensors", files(), self.views.len());
        };
        if view.shape != shape {
            bail!("{}: tensor {name} has shape {:?}, config.json asks for {shape:?}", files(), view.shape);
        }
        Ok(view.clone())
    }
}

/// A tensor in a weight file, not yet read.
#[derive(Clone)]
pub struct View {
    name: Arc<str>,
    shape: Vec<usize>,
    storage: Storage,
}

#[derive(Clone)]
enum Storage {
    Mapped { file: Arc<Mmap>, bytes: Range<usize>, float: Float },
    Pickled(Arc<PickleFile>),
}

/// A `.bin` file, which candle opens by name for each tensor.
struct PickleFile {
    tensors: PthTensors,
    file: Arc<OpenFile>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Float {
    F32,
    F16,
    Bf16,
}

impl Float {
    fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

impl View {
    /// Its dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// All elements, row-major.
    pub fn values(&self) -> Result<Values> {
        match &self.storage {
            Storage::Mapped { file, bytes, float: Float::F32 } if is_aligned(&file[bytes.clone()]) => {
                Ok(Values::Mapped { file: file.clone(), bytes: bytes.clone() })
            }
            Storage::Mapped { file, bytes, float } => Ok(Values::Owned(widen(&file[bytes.clone()], *float))),
            Storage::Pickled(pickle) => {
                let PickleFile { tensors, file } = &**pickle;
                let tensor = tensors.get(&self.name)?.context("the tensor is gone")?;
                let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
                file.check_not_replaced()?;
                Ok(Values::Owned(values))
            }
        }
    }

    /// The same tensor whose rows will be asked for one by one; a `.bin` file is read now.
    pub fn into_rows(self) -> Result<Rows> {
        let width = self.shape[1..].iter().product();
        let storage = match self.storage {
            Storage::Mapped { file, bytes, float } => RowStorage::Mapped { file, start: bytes.start, float },
            Storage::Pickled(_) => RowStorage::Owned(self.values()?),
        };
        Ok(Rows { storage, width })
    }

    /// A copy on `device`, of `dtype`.
    pub fn tensor(&self, device: &Device, dtype: DType) -> Result<Tensor> {
        let values = Tensor::from_slice(&self.values()?, self.shape.as_slice(), device)?;
        Ok(values.to_dtype(dtype)?)
    }
}

/// The elements of a tensor, in the mapped file where they can be used as they are.
pub enum Values {
    Mapped { file: Arc<Mmap>, bytes: Range<usize> },
    Owned(Vec<f32>),
}

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Mapped { file, bytes } => bytemuck::cast_slice(&file[bytes.clone()]),
            Self::Owned(values) => values,
        }
    }
}

/// A matrix of which a run needs a few rows.
pub struct Rows {
    storage: RowStorage,
    width: usize,
}

enum RowStorage {
    Mapped { file: Arc<Mmap>, start: usize, float: Float },
    Owned(Values),
}

impl Rows {
    /// Row `index`, added to `sum` element by element.
    pub fn add_to(&self, index: usize, sum: &mut [f32]) {
        let widened;
        let row = match &self.storage {
            RowStorage::Mapped { file, start, float } => {
                let bytes = self.width * float.size();
                widened = widen(&file[start + index * bytes..][..bytes], *float);
                &widened[..]
            }
            RowStorage::Owned(values) => &values[index * self.width..][..self.width],
        };
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
}

fn map(file: &Arc<OpenFile>) -> Result<Vec<(String, View)>> {
    #[expect(unsafe_code, reason = "the memory map")]
    // SAFETY: the mapping is only read, and lives as long as any view of it. What no program can
    // ensure is that nobody changes the file meanwhile; tensors are used where they lie all the
    // same, because a copy would cost each process their size in memory, and the time to make it.
    // The hub cache keeps the promise, as does everything that writes a new file and renames it:
    // the mapped one then stays as it was. Who writes into the file breaks it: slices of `f32`
    // change while they are borrowed, which Rust calls undefined, although every pattern of bits
    // is an `f32`. What comes of that is not used, since each batch ends with a look at the file's
    // size and time, see `OpenFile::check_unchanged`. Who cuts the file off ends this process with
    // a bus error.
    let map = unsafe { Mmap::map(file.file())? };
    let mapped = Arc::new(map);
    let (header, metadata) = SafeTensors::read_metadata(&mapped).context("not a whole safetensors file")?;
    let data = header + size_of::<u64>();
    metadata
        .tensors()
        .into_iter()
        .filter_map(|(name, info)| {
            let float = match info.dtype {
                Dtype::F32 => Float::F32,
                Dtype::F16 => Float::F16,
                Dtype::BF16 => Float::Bf16,
                // Position ids of old files, which nothing asks for.
                Dtype::I64 | Dtype::I32 => return None,
                other => {
                    return Some(Err(anyhow::anyhow!("tensor {name} is of the unsupported type {other:?}")));
                }
            };
            let (start, end) = info.data_offsets;
            let storage = Storage::Mapped { file: mapped.clone(), bytes: data + start..data + end, float };
            Some(Ok((name.clone(), View { name: name.into(), shape: info.shape.clone(), storage })))
        })
        .collect()
}

fn unpickle(file: &Arc<OpenFile>) -> Result<Vec<(String, View)>> {
    let tensors = PthTensors::new(file.path(), None).context("not a PyTorch file of version 1.6 or later")?;
    file.check_not_replaced()?;
    let pickle = Arc::new(PickleFile { tensors, file: file.clone() });
    let views = pickle.tensors.tensor_infos().values().map(|info| {
        let storage = Storage::Pickled(pickle.clone());
        let shape = info.layout.dims().to_vec();
        (info.name.clone(), View { name: info.name.as_str().into(), shape, storage })
    });
    Ok(views.collect())
}

fn is_aligned(bytes: &[u8]) -> bool {
    cfg!(target_endian = "little") && bytemuck::try_cast_slice::<u8, f32>(bytes).is_ok()
}

fn widen(bytes: &[u8], float: Float) -> Vec<f32> {
    let half = |bytes: &[u8]| [bytes[0], bytes[1]];
    match float {
        Float::F32 => {
            let word = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            bytes.chunks_exact(4).map(word).collect()
        }
        Float::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes(half(b)).to_f32()).collect(),
        Float::Bf16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes(half(b)).to_f32()).collect(),
    }
}
