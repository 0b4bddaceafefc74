//! Linear layers: the one place that knows how a product with weights is best done on a device.
//!
//! On a CPU the weights stay as they lie in the mapped file, see [`kernels::matmul`], or are made
//! narrow, see [`kernels::matmul_panels`]; on a GPU they are candle tensors there, of the precision asked for.

use super::activation::activate;
use super::backend::{Backend, Products};
use super::config::Projection;
use super::weights::{Values, View, Weights};
use crate::kernels::{self, Activation, Bf16Matrix, Int8Matrix, Weight, collect};
use anyhow::{Context, Result};
use candle_core::{CpuStorage, CustomOp1, InplaceOp2, Layout, Shape, Tensor};

/// The tensors of one matrix: `[outputs, inputs]`, and a bias where there is one.
pub struct LinearWeights {
    weight: View,
    bias: Option<View>,
}

impl LinearWeights {
    /// `{name}.weight` and `{name}.bias`.
    pub fn find(weights: &Weights, name: &str, inputs: usize, outputs: usize) -> Result<Self> {
        Self::find_patches(weights, name, &[outputs, inputs])
    }

    /// What projects a pooled state of `inputs` elements to an embedding of `outputs`, if anything does.
    pub fn find_projection(
        weights: &Weights,
        name: &str,
        projection: Projection,
        inputs: usize,
        outputs: usize,
    ) -> Result<Option<Self>> {
        Ok(match projection {
            Projection::None => None,
            Projection::Linear => Some(Self::find_without_bias(weights, name, &[outputs, inputs])?),
            Projection::LinearWithBias => Some(Self::find(weights, name, inputs, outputs)?),
        })
    }

    /// `{name}.weight` and `{name}.bias`, where the dimensions of the former after the first are the
    /// inputs.
    pub fn find_patches(weights: &Weights, name: &str, shape: &[usize]) -> Result<Self> {
        let mut linear = Self::find_without_bias(weights, name, shape)?;
        linear.bias = Some(weights.view(&format!("{name}.bias"), &shape[..1])?);
        Ok(linear)
    }

    /// `{name}.weight` alone, whose dimensions after the first are the inputs.
    pub fn find_without_bias(weights: &Weights, name: &str, shape: &[usize]) -> Result<Self> {
        Ok(Self { weight: weights.view(&format!("{name}.weight"), shape)?, bias: None })
    }
}

/// `x · wᵀ + b`, for one matrix or several side by side that read the same `x`.
pub struct Linear {
    place: LinearPlace,
    inputs: usize,
    outputs: usize,
}

enum LinearPlace {
    Host(Vec<HostMatrix>),
    Bf16(Bf16Matrix),
    Int8(Int8Matrix),
    Device { weight: Tensor, bias: Option<Tensor> },
}

struct HostMatrix {
    values: Values,
    bias: Option<Values>,
    inputs: usize,
}

impl HostMatrix {
    fn weight(&self) -> Weight<'_> {
        Weight { values: &self.values, bias: self.bias.as_deref(), inputs: self.inputs }
    }
}

impl Linear {
    /// Loads the matrices; their outputs follow one another.
    ///
    /// *Errors* when a file cannot be read, a row is too long for int8, or the limit of the
    /// instructions is not one.
    pub fn load(matrices: &[&LinearWeights], backend: &Backend) -> Result<Self> {
        let inputs = matrices[0].weight.shape()[1..].iter().product();
        let outputs = matrices.iter().map(|m| m.weight.shape()[0]).sum();
        let place = match backend {
            Backend::Kernels(products) => {
                // A limit of the instructions that cannot be read must not go unnoticed.
                kernels::instructions()?;
                let host = |m: &&LinearWeights| {
                    let bias = m.bias.as_ref().map(View::values).transpose()?;
                    Ok(HostMatrix { values: m.weight.values()?, bias, inputs })
                };
                let matrices = matrices.iter().map(host).collect::<Result<Vec<_>>>()?;
                match products {
                    Products::F32 => LinearPlace::Host(matrices),
                    Products::Bf16 => LinearPlace::Bf16(Bf16Matrix::round(&Self::host_weights(&matrices))),
                    Products::Int8 => {
                        let matrix = Int8Matrix::quantize(&Self::host_weights(&matrices));
                        LinearPlace::Int8(
                            matrix.with_context(|| format!("rows of {inputs} are too long for int8"))?,
                        )
                    }
                }
            }
            Backend::Operations { device, dtype } => {
                let tensor = |view: &View| view.tensor(device, *dtype);
                let weights = matrices.iter().map(|m| tensor(&m.weight)).collect::<Result<Vec<_>>>()?;
                let weight = Tensor::cat(&weights, 0)?.reshape((outputs, inputs))?.t()?.contiguous()?;
                let biases = matrices.iter().filter_map(|m| m.bias.as_ref());
                let biases = biases.map(tensor).collect::<Result<Vec<_>>>()?;
                let bias = if biases.is_empty() { None } else { Some(Tensor::cat(&biases, 0)?) };
                LinearPlace::Device { weight, bias }
            }
        };
        Ok(Self { place, inputs, outputs })
    }

    /// *Shape* `x [R, inputs] → [R, outputs]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.place {
            LinearPlace::Host(_) | LinearPlace::Bf16(_) | LinearPlace::Int8(_) => self.host_forward(x, None),
            LinearPlace::Device { weight, bias } => {
                let y = x.matmul(weight)?;
                Ok(match bias {
                    Some(bias) => y.broadcast_add(bias)?,
                    None => y,
                })
            }
        }
    }

    /// `activation(self.forward(x))`, in one pass where the device can.
    ///
    /// *Shape* `x [R, inputs] → [R, outputs]`.
    pub fn forward_activated(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        match &self.place {
            LinearPlace::Host(_) | LinearPlace::Bf16(_) | LinearPlace::Int8(_) => {
                self.host_forward(x, Some(activation))
            }
            LinearPlace::Device { .. } => activate(activation, &self.forward(x)?),
        }
    }

    fn host_forward(&self, x: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
        Ok(x.apply_op1_no_bwd(&Product { linear: self, activation })?)
    }

    /// `sum + self.forward(x)`, in place where the device can.
    ///
    /// *Shape* `x [R, inputs]`, `sum [R, outputs] → [R, outputs]`.
    pub fn add_to(&self, sum: Tensor, x: &Tensor) -> Result<Tensor> {
        match &self.place {
            LinearPlace::Host(matrices) => {
                let weights = Self::host_weights(matrices);
                add_on_host(sum, x, |x, sum| kernels::matmul_add(x, &weights, sum))
            }
            LinearPlace::Bf16(matrix) => {
                add_on_host(sum, x, |x, sum| kernels::matmul_panels_add(x, matrix, sum))
            }
            LinearPlace::Int8(matrix) => {
                add_on_host(sum, x, |x, sum| kernels::matmul_panels_add(x, matrix, sum))
            }
            LinearPlace::Device { .. } => Ok((sum + self.forward(x)?)?),
        }
    }

    fn host_weights(matrices: &[HostMatrix]) -> Vec<Weight<'_>> {
        matrices.iter().map(HostMatrix::weight).collect()
    }
}

struct Product<'a> {
    linear: &'a Linear,
    activation: Option<Activation>,
}

impl CustomOp1 for Product<'_> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = host_slice(x, layout)?;
        let Linear { inputs, outputs, place } = self.linear;
        let rows = x.len() / inputs;
        let y = collect(rows * outputs, |y| match place {
            LinearPlace::Host(matrices) => {
                kernels::matmul(x, &Linear::host_weights(matrices), self.activation, y)
            }
            LinearPlace::Bf16(matrix) => kernels::matmul_panels(x, matrix, self.activation, y),
            LinearPlace::Int8(matrix) => kernels::matmul_panels(x, matrix, self.activation, y),
            LinearPlace::Device { .. } => unreachable!("candle calls this on a CPU"),
        });
        Ok((CpuStorage::F32(y), (rows, *outputs).into()))
    }
}

/// Calls `add` with the elements of `x` and those of `sum`, contiguous f32 tensors on the CPU, and gives the
/// latter as it leaves them.
pub fn add_on_host(sum: Tensor, x: &Tensor, add: impl Fn(&[f32], &mut [f32])) -> Result<Tensor> {
    sum.inplace_op2(x, &HostAddition(add))?;
    Ok(sum)
}

struct HostAddition<F>(F);

impl<F: Fn(&[f32], &mut [f32])> InplaceOp2 for HostAddition<F> {
    fn name(&self) -> &'static str {
        "host-addition"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        sum_layout: &Layout,
        x: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<()> {
        (self.0)(host_slice(x, layout)?, host_slice_mut(sum, sum_layout)?);
        Ok(())
    }
}

/// The elements of a contiguous f32 tensor on the CPU.
pub fn host_slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => candle_core::bail!("not a contiguous f32 tensor: {layout:?}"),
    }
}

/// The elements of a contiguous f32 tensor on the CPU, to be changed in place.
fn host_slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> candle_core::Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => candle_core::bail!("not a contiguous f32 tensor: {layout:?}"),
    }
}
