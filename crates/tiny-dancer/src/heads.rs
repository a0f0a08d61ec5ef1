//! Linear heads over a text's features, one number an output: what routes and classifiers of texts are made of.
//!
//! ```text
//! score_k = bias_k + embedding · A_k
//!         + s_w / √n_w · Σ W_k[word n-grams] + s_c / √n_c · Σ W_k[character n-grams]
//! ```
//!
//! The second line may be absent. Products are of int8 with int8 and summed as integers, so a score has
//! the same bits everywhere. n-gram weights are sparse: a bitmap says which of the 2^18 n-grams have any, and each of
//! those keeps the outputs it speaks for. `n_w` and `n_c` count all n-grams of the text, known or not: a text of unknown
//! words says little. What the numbers mean (softmax, sigmoids, a scale) is the caller's.

use crate::artifact::{LARGEST_FILE, Tensors, invalid};
use crate::error::Result;
use crate::features::CHAR_BASE;
use crate::kernels::dot_rows_i8;

use safetensors::Dtype;

/// Bytes of the bitmap of n-grams.
const BITMAP: usize = 2 * CHAR_BASE as usize / 8;
/// Largest int8 value: quantisation stops at ±127.
const LARGEST: f32 = 127.0;

/// What a head reads of a text.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Word n-grams, below [`CHAR_BASE`]; not read by heads without n-grams.
    pub words: &'a [u32],
    /// Character n-grams, from [`CHAR_BASE`] on.
    pub characters: &'a [u32],
    /// Direction of the embedding, no value −128.
    pub embedding: &'a [i8],
    /// 1 / length of `embedding`, or 0.
    pub inverse_norm: f32,
}

/// Buffers of one thread.
#[derive(Clone, Debug, Default)]
pub struct HeadScratch {
    products: Vec<i32>,
    words: Vec<i32>,
    characters: Vec<i32>,
}

/// A head; see the module.
#[derive(Debug)]
pub struct Head {
    outputs: usize,
    bias: Vec<f32>,
    embedding: Rows,
    ngrams: Option<Ngrams>,
}

/// int8 rows, each with its scale.
#[derive(Debug)]
struct Rows {
    values: Vec<i8>,
    scale: Vec<f32>,
}

#[derive(Debug)]
struct Ngrams {
    /// Bit i: n-gram i has weights.
    present: Vec<u64>,
    /// Of each word of `present`, how many bits are set before it.
    before: Vec<u32>,
    /// Where the weights of the i-th present n-gram start; one more than there are.
    starts: Vec<u32>,
    outputs: Vec<u16>,
    weights: Vec<i8>,
    /// Of word and character n-grams.
    scale: [f32; 2],
}

impl Rows {
    fn load(name: &str, tensors: &Tensors, rows: usize, columns: usize) -> Result<Self> {
        Ok(Self {
            values: tensors.i8(name, &[rows, columns])?.into_iter().map(|value| value.max(-127)).collect(),
            scale: tensors.f32(&format!("{name}_scale"), &[rows])?,
        })
    }
}

impl Ngrams {
    fn load(name: &str, tensors: &Tensors, outputs: usize) -> Result<Self> {
        let bytes = tensors.u8(&format!("{name}.ngrams"), &[BITMAP])?;
        let present: Vec<u64> =
            bytes.as_chunks::<8>().0.iter().map(|&bytes| u64::from_le_bytes(bytes)).collect();
        let (mut before, mut known) = (Vec::with_capacity(present.len()), 0u32);
        for word in &present {
            before.push(known);
            known += word.count_ones();
        }
        let counts = tensors.u16_vector(&format!("{name}.ngram_counts"))?;
        if counts.len() != known as usize {
            let found = format!("{} counts for {known} n-grams", counts.len());
            return Err(invalid(format!("{name}.ngram_counts"), found, "train the artifact again"));
        }
        let entries: usize = counts.iter().map(|&count| usize::from(count)).sum();
        if entries > LARGEST_FILE {
            let found = format!("{entries} weights");
            return Err(invalid(format!("{name}.ngram_counts"), found, "more than a file holds"));
        }
        let (mut starts, mut total) = (Vec::with_capacity(counts.len() + 1), 0u32);
        starts.push(0);
        for count in counts {
            total += u32::from(count);
            starts.push(total);
        }
        let field = format!("{name}.ngram_outputs");
        let of: Vec<u16> = if tensors.dtype(&field) == Some(Dtype::U8) {
            tensors.u8(&field, &[entries])?.into_iter().map(u16::from).collect()
        } else {
            tensors.u16_vector(&field)?
        };
        if of.len() != entries {
            return Err(invalid(field, format!("{} entries", of.len()), &format!("expected {entries}")));
        }
        if let Some(at) = of.iter().position(|&output| usize::from(output) >= outputs) {
            let field = format!("{field}[{at}]");
            return Err(invalid(field, of[at], &format!("there are {outputs} outputs; train again")));
        }
        let weights = tensors.i8(&format!("{name}.ngram_weights"), &[entries])?;
        let scale = tensors.f32(&format!("{name}.ngram_scale"), &[2])?;
        Ok(Self { present, before, starts, outputs: of, weights, scale: [scale[0], scale[1]] })
    }

    /// Adds up the weights of `indices` by output; gives how many of them have any.
    fn sum(&self, indices: &[u32], sums: &mut [i32]) -> usize {
        let mut known = 0;
        for &index in indices {
            let (word, bit) = ((index >> 6) as usize, index & 63);
            let bits = self.present[word];
            if bits >> bit & 1 == 0 {
                continue;
            }
            known += 1;
            let place = (self.before[word] + (bits & ((1 << bit) - 1)).count_ones()) as usize;
            let range = self.starts[place] as usize..self.starts[place + 1] as usize;
            for (&output, &weight) in self.outputs[range.clone()].iter().zip(&self.weights[range]) {
                sums[usize::from(output)] += i32::from(weight);
            }
        }
        known
    }
}

impl Head {
    /// Reads the tensors `{name}.*` of a head over embeddings of `dimensions` values.
    ///
    /// # Errors
    /// `ArtifactInvalid`, naming the tensor.
    pub(crate) fn load(name: &str, tensors: &Tensors, outputs: usize, dimensions: usize) -> Result<Self> {
        let ngrams = tensors
            .has(&format!("{name}.ngrams"))
            .then(|| Ngrams::load(name, tensors, outputs))
            .transpose()?;
        Ok(Self {
            outputs,
            bias: tensors.f32(&format!("{name}.bias"), &[outputs])?,
            embedding: Rows::load(&format!("{name}.embedding"), tensors, outputs, dimensions)?,
            ngrams,
        })
    }

    /// How many numbers it gives.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Whether it reads n-grams: without a text it then says less than it could.
    #[must_use]
    pub fn reads_ngrams(&self) -> bool {
        self.ngrams.is_some()
    }

    /// Bit i: the word n-gram of index i has weights; empty where it reads no n-grams.
    #[must_use]
    pub fn known_words(&self) -> &[u64] {
        self.ngrams.as_ref().map_or(&[], |ngrams| &ngrams.present[..CHAR_BASE as usize / 64])
    }

    /// One number an output into `out`; gives the shares of the word and of the character n-grams that it knows (0
    /// where there are none).
    pub fn scores(&self, input: &Input, scratch: &mut HeadScratch, out: &mut Vec<f32>) -> [f32; 2] {
        let HeadScratch { products, words, characters } = scratch;
        dot_rows_i8(&self.embedding.values, input.embedding, products);
        out.clear();
        let terms = products.iter().zip(&self.embedding.scale).zip(&self.bias);
        out.extend(terms.map(|((&product, scale), bias)| bias + product as f32 * input.inverse_norm * scale));
        let Some(ngrams) = &self.ngrams else { return [0.0; 2] };
        let mut known = [0.0; 2];
        let kinds = [(input.words, words), (input.characters, characters)];
        for (kind, (indices, sums)) in kinds.into_iter().enumerate() {
            sums.clear();
            sums.resize(self.outputs, 0);
            let count = indices.len().max(1) as f32;
            known[kind] = ngrams.sum(indices, sums) as f32 / count;
            let scale = ngrams.scale[kind] / count.sqrt();
            for (score, &sum) in out.iter_mut().zip(sums.iter()) {
                *score += sum as f32 * scale;
            }
        }
        known
    }
}

/// The direction of `vector` as int8: its largest value becomes ±127, the rest follow, rounded half away from zero. All
/// zero for the zero vector.
pub fn direction(vector: &[f32], out: &mut Vec<i8>) {
    let largest = vector.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    out.clear();
    if largest == 0.0 {
        out.resize(vector.len(), 0);
        return;
    }
    out.extend(vector.iter().map(|value| (value / largest * LARGEST).round() as i8));
}
