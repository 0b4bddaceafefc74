//! Weight files → named tensors of known shape.
//!
//! Safetensors files are mapped, and f32 tensors are used where they lie: nothing is read before
//! a layer needs it, and processes that run side by side share the pages. Tensors of f16 and bf16
//! are widened when asked for, and those of a `.bin` file unpickled then.

use super::layout::{Layout, StoredForm};
use crate::hub::{FileRole, OpenFile, WeightFiles};
use anyhow::{Context, Result, bail, ensure};
use candle_core::pickle::PthTensors;
use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use std::collections::{HashMap, HashSet};
use std::ops::{Deref, Range};
use std::slice;
use std::sync::{Arc, Mutex, PoisonError};

/// All tensors of a checkpoint.
pub struct Weights {
    layout: Layout,
    /// By the names in the files.
    stored: HashMap<String, StoredTensor>,
    /// Names that were asked for.
    used: Mutex<HashSet<String>>,
    files: Vec<Arc<OpenFile>>,
}

/// What training in parallel puts before every name.
const PARALLEL: &str = "module.";
/// Under what the file of a training run keeps the tensors, beside the optimizer's state.
const STATE_DICT: &str = "state_dict";

impl Weights {
    /// Maps the files and reads their tables of contents.
    ///
    /// *Errors* when a file is missing, cut off or not of its format.
    pub fn open(files: &WeightFiles, layout: Layout) -> Result<Self> {
        let paths = match files {
            WeightFiles::Safetensors(paths) => paths.as_slice(),
            WeightFiles::Pickle(path) => slice::from_ref(path),
        };
        let mut weights = Self { layout, stored: HashMap::new(), used: Mutex::default(), files: Vec::new() };
        for path in paths {
            let file = Arc::new(OpenFile::open(FileRole::Weights, path)?);
            let stored = match files {
                WeightFiles::Safetensors(_) => map(&file),
                WeightFiles::Pickle(_) => unpickle(&file),
            };
            weights.stored.extend(stored.with_context(|| format!("cannot read {}", path.display()))?);
            weights.files.push(file);
        }
        if weights.stored.keys().all(|name| name.starts_with(PARALLEL)) {
            let bare = |(name, tensor): (String, _)| (name[PARALLEL.len()..].to_owned(), tensor);
            weights.stored = weights.stored.into_iter().map(bare).collect();
        }
        Ok(weights)
    }

    /// The files, which stay open while a tensor of theirs is used.
    pub fn files(&self) -> &[Arc<OpenFile>] {
        &self.files
    }

    /// Whether there is a tensor with that [canonical name](super::layout).
    pub fn has(&self, canonical: &str) -> bool {
        self.layout.stored(canonical).iter().any(|stored| self.stored.contains_key(&stored.name))
    }

    /// The tensor with that [canonical name](super::layout). Leading dimensions of one are no part of
    /// its shape.
    ///
    /// *Errors* when it is missing or has another shape, naming what was found and where.
    pub fn view(&self, canonical: &str, shape: &[usize]) -> Result<View> {
        let ways = self.layout.stored(canonical);
        let Some((way, tensor)) = ways.iter().find_map(|way| Some((way, self.stored.get(&way.name)?))) else {
            let names: Vec<_> = ways.into_iter().map(|way| way.name).collect();
            let names = if names.is_empty() { canonical.to_owned() } else { names.join(" or ") };
            let count = self.stored.len();
            bail!("{}: tensor {names} {shape:?} is missing among {count} tensors", self.file_names());
        };
        let whole = match (way.form, shape) {
            (StoredForm::Transposed, [outputs, inputs]) => vec![*inputs, *outputs],
            (StoredForm::Part { of, .. }, [first, rest @ ..]) => [&[first * of], rest].concat(),
            _ => shape.to_vec(),
        };
        if without_ones(&tensor.shape) != without_ones(&whole) {
            let (files, name, found) = (self.file_names(), &way.name, &tensor.shape);
            bail!("{files}: tensor {name} has shape {found:?}, the configuration asks for {whole:?}");
        }
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(way.name.clone());
        let elements: usize = shape.iter().product();
        let first = match way.form {
            StoredForm::Part { index, .. } => index * elements,
            StoredForm::Whole | StoredForm::Transposed => 0,
        };
        Ok(View {
            storage: tensor.storage.clone(),
            elements: first..first + elements,
            transposed: way.form == StoredForm::Transposed,
            shape: shape.to_vec(),
        })
    }

    /// Fails if there are tensors that were not asked for: the network is another one than the
    /// configuration says.
    ///
    /// *Errors* when there are such, naming one.
    pub fn check_all_used(&self) -> Result<()> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = self.stored.keys().filter(|name| !used.contains(*name) && !self.layout.is_idle(name));
        let mut unused: Vec<_> = unused.collect();
        unused.sort_unstable();
        let Some(first) = unused.first() else { return Ok(()) };
        let files = self.file_names();
        bail!("{files}: the configuration does not ask for {} of the tensors, as {first}", unused.len())
    }

    fn file_names(&self) -> String {
        let names: Vec<_> = self.files.iter().map(|file| file.path().display().to_string()).collect();
        names.join(", ")
    }
}

/// Dimensions less the ones they begin with.
fn without_ones(shape: &[usize]) -> &[usize] {
    let ones = shape.iter().take_while(|size| **size == 1).count();
    &shape[ones..]
}

/// A tensor as a weight file has it.
struct StoredTensor {
    shape: Vec<usize>,
    storage: Storage,
}

/// A tensor in a weight file, or a part of one, not yet read.
#[derive(Clone)]
pub struct View {
    storage: Storage,
    /// Which of the stored elements.
    elements: Range<usize>,
    /// Whether the stored matrix is `[shape[1], shape[0]]`.
    transposed: bool,
    shape: Vec<usize>,
}

#[derive(Clone)]
enum Storage {
    Mapped { file: Arc<Mmap>, bytes: Range<usize>, float: Float },
    Pickled { file: Arc<PickleFile>, name: Arc<str> },
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
        let values = self.stored_values()?;
        Ok(match (self.transposed, self.shape.as_slice()) {
            (true, [rows, columns]) => {
                let column = |i: usize| values[i..].iter().step_by(*rows).take(*columns);
                Values::Owned((0..*rows).flat_map(column).copied().collect())
            }
            _ => values,
        })
    }

    /// The elements in the order of the file.
    fn stored_values(&self) -> Result<Values> {
        match &self.storage {
            Storage::Mapped { file, bytes, float } => {
                let Range { start, end } = self.elements;
                let bytes = bytes.start + start * float.size()..bytes.start + end * float.size();
                Ok(match float {
                    Float::F32 if is_aligned(&file[bytes.clone()]) => {
                        Values::Mapped { file: file.clone(), bytes }
                    }
                    _ => Values::Owned(widen(&file[bytes], *float)),
                })
            }
            Storage::Pickled { file: pickle, name } => {
                let PickleFile { tensors, file } = &**pickle;
                let tensor = tensors.get(name)?.context("the tensor is gone")?;
                let elements = tensor.flatten_all()?.narrow(0, self.elements.start, self.elements.len())?;
                let values = elements.to_dtype(DType::F32)?.to_vec1()?;
                file.check_not_replaced()?;
                Ok(Values::Owned(values))
            }
        }
    }

    /// The same tensor whose rows will be asked for one by one; a `.bin` file is read now.
    pub fn into_rows(self) -> Result<Rows> {
        let width = self.shape[1..].iter().product();
        let storage = match &self.storage {
            Storage::Mapped { file, bytes, float } if !self.transposed => {
                let start = bytes.start + self.elements.start * float.size();
                RowStorage::Mapped { file: file.clone(), start, float: *float }
            }
            _ => RowStorage::Owned(self.values()?),
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

fn map(file: &Arc<OpenFile>) -> Result<Vec<(String, StoredTensor)>> {
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
            Some(Ok((name, StoredTensor { shape: info.shape.clone(), storage })))
        })
        .collect()
}

fn unpickle(file: &Arc<OpenFile>) -> Result<Vec<(String, StoredTensor)>> {
    let read = |key| PthTensors::new(file.path(), key).context("not a PyTorch file of version 1.6 or later");
    let mut tensors = read(None)?;
    if tensors.tensor_infos().is_empty() {
        tensors = read(Some(STATE_DICT)).context("it holds no tensors by name")?;
    }
    ensure!(
        !tensors.tensor_infos().is_empty(),
        "it holds no tensors by name, as the archives of TorchScript do not; save the model's state dict"
    );
    file.check_not_replaced()?;
    let pickle = Arc::new(PickleFile { tensors, file: file.clone() });
    let stored = pickle.tensors.tensor_infos().values().map(|info| {
        let storage = Storage::Pickled { file: pickle.clone(), name: info.name.as_str().into() };
        (info.name.clone(), StoredTensor { shape: info.layout.dims().to_vec(), storage })
    });
    Ok(stored.collect())
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
