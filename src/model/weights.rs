//! Weight files → named tensors of known shape.
//!
//! Safetensors files are mapped, and f32 tensors are used where they lie: nothing is read before
//! a layer needs it, and processes that run side by side share the pages. Tensors of f16 and bf16
//! are widened when asked for, and those of a `.bin` file unpickled then.

use super::precision::Precision;
use crate::hub::WeightFiles;
use anyhow::{Context, Result, bail};
use candle_core::pickle::PthTensors;
use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All tensors of a checkpoint by name.
pub struct Weights {
    views: HashMap<String, View>,
    files: Vec<PathBuf>,
}

impl Weights {
    /// Maps the files and reads their tables of contents.
    ///
    /// *Errors* when a file is missing, cut off or not of its format.
    pub fn open(files: &WeightFiles) -> Result<Self> {
        let mut views = HashMap::new();
        let files = match files {
            WeightFiles::Safetensors(paths) => {
                for path in paths {
                    let found = map(path).with_context(|| format!("cannot read {}", path.display()))?;
                    views.extend(found);
                }
                paths.clone()
            }
            WeightFiles::Pickle(path) => {
                let found = unpickle(path).with_context(|| format!("cannot read {}", path.display()))?;
                views.extend(found);
                vec![path.clone()]
            }
        };
        Ok(Self { views, files })
    }

    /// The tensor of that name.
    ///
    /// *Errors* when it is missing or has another shape, naming what was found and where.
    pub fn view(&self, name: &str, shape: &[usize]) -> Result<View> {
        let files = || {
            let names: Vec<_> = self.files.iter().map(|f| f.display().to_string()).collect();
            names.join(", ")
        };
        let Some(view) = self.views.get(name) else {
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
    place: Place,
}

#[derive(Clone)]
enum Place {
    Mapped { file: Arc<Mmap>, bytes: Range<usize>, float: Float },
    Pickled(Arc<PthTensors>),
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
        match &self.place {
            Place::Mapped { file, bytes, float: Float::F32 } if is_aligned(&file[bytes.clone()]) => {
                Ok(Values::Mapped { file: file.clone(), bytes: bytes.clone() })
            }
            Place::Mapped { file, bytes, float } => Ok(Values::Owned(widen(&file[bytes.clone()], *float))),
            Place::Pickled(file) => {
                let tensor = file.get(&self.name)?.context("the tensor is gone")?;
                let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
                Ok(Values::Owned(values))
            }
        }
    }

    /// The same tensor whose rows will be asked for one by one; a `.bin` file is read now.
    pub fn into_rows(self) -> Result<Rows> {
        let width = self.shape[1..].iter().product();
        let place = match self.place {
            Place::Mapped { file, bytes, float } => RowsPlace::Mapped { file, start: bytes.start, float },
            Place::Pickled(_) => RowsPlace::Owned(self.values()?),
        };
        Ok(Rows { place, width })
    }

    /// A copy on `device`, in `precision`.
    pub fn tensor(&self, device: &Device, precision: Precision) -> Result<Tensor> {
        let values = Tensor::from_slice(&self.values()?, self.shape.as_slice(), device)?;
        Ok(values.to_dtype(precision.dtype())?)
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
    place: RowsPlace,
    width: usize,
}

enum RowsPlace {
    Mapped { file: Arc<Mmap>, start: usize, float: Float },
    Owned(Values),
}

impl Rows {
    /// Row `index`, added to `sum` element by element.
    pub fn add_to(&self, index: usize, sum: &mut [f32]) {
        let widened;
        let row = match &self.place {
            RowsPlace::Mapped { file, start, float } => {
                let bytes = self.width * float.size();
                widened = widen(&file[start + index * bytes..][..bytes], *float);
                &widened[..]
            }
            RowsPlace::Owned(values) => &values[index * self.width..][..self.width],
        };
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
}

fn map(path: &Path) -> Result<Vec<(String, View)>> {
    let file = File::open(path)?;
    #[expect(unsafe_code, reason = "the memory map")]
    // SAFETY: nobody may change the file while it is mapped. Rust cannot see to that: a file that is
    // written to in place would change numbers behind a `&[f32]`, which is undefined, and one that
    // is cut off ends the process with a bus error. The hub's files are never written to, but
    // renamed into place when they are complete, and so are those that other tools save with care.
    let map = unsafe { Mmap::map(&file)? };
    let file = Arc::new(map);
    let (header, metadata) = SafeTensors::read_metadata(&file).context("not a whole safetensors file")?;
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
            let place = Place::Mapped { file: file.clone(), bytes: data + start..data + end, float };
            Some(Ok((name.clone(), View { name: name.into(), shape: info.shape.clone(), place })))
        })
        .collect()
}

fn unpickle(path: &Path) -> Result<Vec<(String, View)>> {
    let file = Arc::new(PthTensors::new(path, None).context("not a PyTorch file of version 1.6 or later")?);
    let views = file.tensor_infos().values().map(|info| {
        let place = Place::Pickled(file.clone());
        let shape = info.layout.dims().to_vec();
        (info.name.clone(), View { name: info.name.as_str().into(), shape, place })
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
