//! A small ensemble of regression trees over the cues and the static embedding.

use super::{Backend, BackendScratch};
use crate::artifact::Tensors;
use crate::encoder::DIM;
use crate::error::{Error, ErrorKind, Result};
use crate::features::{CUES, Features};

/// Marks a node as a leaf.
const LEAF: u16 = u16::MAX;
/// No tree is deeper, so a walk is bounded however the artifact was made.
const DEEPEST: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Node {
    threshold: f32,
    /// Input to compare: cues first, then embedding dimensions; `LEAF` for a leaf.
    feature: u16,
    /// Left child is the next node; a leaf's `right` is its row of `leaves`, relative to the tree's first.
    right: u16,
}

/// `score = intercept + Σ_trees leaf(x) · scale`; a walk goes left where x[feature] ≤ threshold.
#[derive(Debug)]
pub(super) struct Trees {
    components: usize,
    nodes: Vec<Node>,
    /// First node and first leaf row of each tree.
    starts: Vec<(u32, u32)>,
    /// One row per leaf.
    leaves: Vec<i8>,
    scale: Vec<f32>,
    intercept: Vec<f32>,
}

impl Trees {
    pub(super) fn load(name: &str, tensors: &Tensors, components: usize) -> Result<Self> {
        let invalid = |field: &str, value: String| {
            Error::new(
                ErrorKind::ArtifactInvalid,
                format!("{name}.{field}"),
                value,
                "the trees contradict themselves; train again",
            )
        };
        let thresholds = tensors.f32_vector(&format!("{name}.threshold"))?;
        let features = tensors.u16_vector(&format!("{name}.feature"))?;
        let rights = tensors.u16_vector(&format!("{name}.right"))?;
        let sizes = tensors.u16_vector(&format!("{name}.size"))?;
        let (leaves, leaf_rows) = tensors.i8_rows(&format!("{name}.leaf"), components)?;
        if thresholds.len() != features.len() || features.len() != rights.len() {
            return Err(invalid(
                "feature",
                format!("{} features, {} thresholds", features.len(), thresholds.len()),
            ));
        }
        let nodes: Vec<Node> = thresholds
            .iter()
            .zip(&features)
            .zip(&rights)
            .map(|((&threshold, &feature), &right)| Node { threshold, feature, right })
            .collect();
        let (mut first, mut first_leaf) = (0usize, 0usize);
        let mut starts = Vec::with_capacity(sizes.len());
        for (tree, &size) in sizes.iter().enumerate() {
            let size = usize::from(size);
            let Some(tree_nodes) = nodes.get(first..first + size).filter(|nodes| !nodes.is_empty()) else {
                return Err(invalid("size", format!("tree {tree} has {size} nodes")));
            };
            let tree_leaves = tree_nodes.iter().filter(|node| node.feature == LEAF).count();
            check_tree(tree_nodes, tree_leaves)
                .map_err(|what| invalid("right", format!("tree {tree}: {what}")))?;
            starts.push((first as u32, first_leaf as u32));
            first += size;
            first_leaf += tree_leaves;
        }
        if first != nodes.len() || first_leaf != leaf_rows {
            return Err(invalid("leaf", format!("{leaf_rows} leaves, {first_leaf} used by the trees")));
        }
        Ok(Self {
            components,
            nodes,
            starts,
            leaves,
            scale: tensors.f32(&format!("{name}.scale"), &[components])?,
            intercept: tensors.f32(&format!("{name}.intercept"), &[components])?,
        })
    }

    /// The leaf row the walk from tree `tree` ends in.
    #[inline]
    fn walk(&self, tree: usize, inputs: &[f32; CUES + DIM]) -> usize {
        let (first, first_leaf) = self.starts[tree];
        let mut at = 0u32;
        loop {
            let node = self.nodes[(first + at) as usize];
            if node.feature == LEAF {
                return first_leaf as usize + usize::from(node.right);
            }
            at = if inputs[usize::from(node.feature)] <= node.threshold {
                at + 1
            } else {
                u32::from(node.right)
            };
        }
    }
}

/// Children lie after their parents and inside the tree, leaves are numbered inside it, and no walk is too long.
fn check_tree(nodes: &[Node], leaves: usize) -> std::result::Result<(), String> {
    let mut depth = vec![0usize; nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        let right = usize::from(node.right);
        if node.feature == LEAF {
            if right >= leaves {
                return Err(format!("leaf {right} of {leaves}"));
            }
            continue;
        }
        if usize::from(node.feature) >= CUES + DIM {
            return Err(format!("feature {} of {}", node.feature, CUES + DIM));
        }
        if right <= at + 1 || right >= nodes.len() {
            return Err(format!("node {at} has right child {right} of {}", nodes.len()));
        }
        if depth[at] >= DEEPEST {
            return Err(format!("deeper than {DEEPEST}"));
        }
        for child in [at + 1, right] {
            depth[child] = depth[child].max(depth[at] + 1);
        }
    }
    Ok(())
}

impl Backend for Trees {
    fn add_scores(
        &self,
        features: &Features,
        weight: &[f32],
        _scratch: &mut BackendScratch,
        out: &mut [f32],
    ) {
        let mut inputs = [0f32; CUES + DIM];
        inputs[..CUES].copy_from_slice(&features.cues);
        inputs[CUES..].copy_from_slice(&features.unit_embedding);
        let mut sums = [0i32; crate::artifact::MOST_COMPONENTS];
        for tree in 0..self.starts.len() {
            let leaf = self.walk(tree, &inputs);
            let row = &self.leaves[leaf * self.components..][..self.components];
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value);
            }
        }
        for component in 0..self.components {
            let score = self.intercept[component] + sums[component] as f32 * self.scale[component];
            out[component] += weight[component] * score;
        }
    }
}
