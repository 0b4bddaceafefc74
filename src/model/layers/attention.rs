//! Attention on any device.

use super::backend::Backend;
use super::linear::host_slice;
use crate::kernels::{self, Heads, collect};
use anyhow::Result;
use candle_core::{CpuStorage, CustomOp1, D, Device, Layout, Shape, Tensor};

/// Multi-head attention within each sequence of a batch.
pub struct Attention<'a> {
    pub heads: Heads,
    /// One token position for each sequence, where only those tokens ask.
    pub queries: Option<&'a [usize]>,
    pub backend: &'a Backend,
}

impl Attention<'_> {
    /// *Shape* `qkv [R, 3·E] → [R, E]`, or `[N, E]` where only some tokens ask; R as in
    /// [`kernels::attention`].
    pub fn forward(&self, qkv: &Tensor) -> Result<Tensor> {
        match self.backend {
            Backend::Kernels(_) => Ok(qkv.apply_op1_no_bwd(self)?),
            Backend::Operations { .. } => self.in_operations(qkv),
        }
    }

    fn in_operations(&self, qkv: &Tensor) -> Result<Tensor> {
        let Heads { tokens, width, heads, causal, shared } = self.heads;
        assert!(shared == 0, "operations attend to whole sequences");
        let sequences = qkv.dim(0)? / tokens;
        let head_width = width / heads;
        let split = |from: &Tensor, tokens| -> Result<Tensor> {
            let split = from.reshape((sequences, tokens, heads, head_width))?;
            Ok(split.transpose(1, 2)?.contiguous()?)
        };
        let part = |i| qkv.narrow(1, i * width, width)?.contiguous();
        let (mut q, k, v) = (part(0)?, split(&part(1)?, tokens)?, split(&part(2)?, tokens)?);
        let mut asking = tokens;
        if let Some(queries) = self.queries {
            q = rows_of(&q, self.heads, queries)?;
            asking = 1;
        }
        let q = (split(&q, asking)? * (1.0 / (head_width as f64).sqrt()))?;
        let mut scores = q.matmul(&k.transpose(2, 3)?.contiguous()?)?;
        if causal {
            scores = scores
                .broadcast_add(&self.mask(sequences, asking, qkv.device())?.to_dtype(scores.dtype())?)?;
        }
        let probabilities = candle_nn::ops::softmax_last_dim(&scores)?;
        let mixed = probabilities.matmul(&v)?.transpose(1, 2)?;
        Ok(mixed.reshape((sequences * asking, width))?)
    }

    /// 0 where a token sees another and −∞ where not: `[N or 1, 1, asking, T]`.
    fn mask(&self, sequences: usize, asking: usize, device: &Device) -> Result<Tensor> {
        let tokens = self.heads.tokens;
        let row = |query: usize| (0..tokens).map(move |t| if t <= query { 0.0 } else { f32::NEG_INFINITY });
        let (values, batch): (Vec<f32>, _) = match self.queries {
            Some(queries) => (queries.iter().copied().flat_map(row).collect(), sequences),
            None => ((0..tokens).flat_map(row).collect(), 1),
        };
        Ok(Tensor::from_vec(values, (batch, 1, asking, tokens), device)?)
    }
}

/// One row of each sequence: `x [R, E] → [N, E]`, R as in [`kernels::attention`].
pub fn rows_of(x: &Tensor, heads: Heads, positions: &[usize]) -> Result<Tensor> {
    let rows = positions.iter().enumerate().map(|(n, position)| heads.row(n, *position) as u32);
    let rows = Tensor::from_vec(rows.collect::<Vec<_>>(), positions.len(), x.device())?;
    Ok(x.index_select(&rows, D::Minus2)?)
}

impl CustomOp1 for Attention<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let qkv = host_slice(qkv, layout)?;
        let width = self.heads.width;
        let rows = qkv.len() / (3 * width);
        let asking = self.queries.map_or(rows, <[usize]>::len);
        let y = collect(asking * width, |y| kernels::attention(qkv, self.heads, self.queries, y));
        Ok((CpuStorage::F32(y), (asking, width).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::backend::Products;

    #[test]
    fn operations_attend_as_the_kernel_does() -> Result<()> {
        let (sequences, tokens, width) = (3, 7, 24);
        let values = (0..sequences * tokens * 3 * width).map(|i| (i as f32 * 0.7).sin()).collect();
        let qkv = Tensor::from_vec(values, (sequences * tokens, 3 * width), &Device::Cpu)?;
        for causal in [false, true] {
            for queries in [None, Some(&[0, 3, 6][..])] {
                let heads = Heads { tokens, width, heads: 2, causal, shared: 0 };
                let attention = Attention { heads, queries, backend: &Backend::Kernels(Products::F32) };
                let difference = (attention.in_operations(&qkv)? - attention.forward(&qkv)?)?;
                let largest: f32 = difference.abs()?.flatten_all()?.max(0)?.to_scalar()?;
                assert!(largest < 1e-6, "{heads:?} {queries:?}: off by {largest}");
            }
        }
        Ok(())
    }
}
