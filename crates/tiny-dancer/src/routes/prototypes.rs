//! Example vectors of the routes, and how like them a request is.

use crate::artifact::{Tensors, invalid};
use crate::error::Result;
use crate::kernels::{dot_rows_i8, inverse_norm, visit_above};

/// Prototypes, those of a route in a row.
#[derive(Debug)]
pub(super) struct Prototypes {
    rows: Vec<i8>,
    /// 1 / length of each row.
    inverse: Vec<f32>,
    /// Where the rows of each route start; one more than there are routes.
    starts: Vec<u32>,
}

impl Prototypes {
    /// Reads `prototypes` int8 \[rows, dimensions\] and `prototype_routes` u16 \[rows\], rising: the route of each.
    pub(super) fn load(tensors: &Tensors, routes: usize, dimensions: usize) -> Result<Self> {
        let (rows, count) = tensors.i8_rows("prototypes", dimensions)?;
        let rows: Vec<i8> = rows.into_iter().map(|value| value.max(-127)).collect();
        let owners = tensors.u16_vector("prototype_routes")?;
        let rising = owners.windows(2).all(|pair| pair[0] <= pair[1]);
        let within = owners.last().is_none_or(|&last| usize::from(last) < routes);
        if owners.len() != count || !rising || !within {
            let found = format!("{} routes for {count} rows", owners.len());
            return Err(invalid("prototype_routes", found, "one route a row, rising; train again"));
        }
        let starts = (0..=routes).map(|route| owners.partition_point(|&of| usize::from(of) < route) as u32);
        Ok(Self {
            starts: starts.collect(),
            inverse: rows.chunks_exact(dimensions).map(inverse_norm).collect(),
            rows,
        })
    }

    /// The first route without a prototype.
    pub(super) fn without(&self) -> Option<usize> {
        self.starts.windows(2).position(|pair| pair[0] == pair[1])
    }

    /// Cosines of the query with all prototypes into `cosines`; gives the highest, 0 where there are none.
    pub(super) fn compare(
        &self,
        query: &[i8],
        inverse: f32,
        products: &mut Vec<i32>,
        cosines: &mut Vec<f32>,
    ) -> f32 {
        dot_rows_i8(&self.rows, query, products);
        cosines.clear();
        let each = products.iter().zip(&self.inverse);
        cosines.extend(each.map(|(&product, row)| product as f32 * (inverse * row)));
        if cosines.is_empty() {
            return 0.0;
        }
        let mut highest = f32::NEG_INFINITY;
        visit_above(cosines, highest, |_, cosine| {
            highest = cosine;
            cosine
        });
        highest
    }

    /// Adds `scale` × (highest + mean) ÷ 2 of each route's cosines to `scores`.
    pub(super) fn add_scores(&self, cosines: &[f32], scale: f32, scores: &mut [f32]) {
        if cosines.len() == scores.len() {
            // One each, which is the highest and the mean.
            for (score, &cosine) in scores.iter_mut().zip(cosines) {
                *score += scale * 0.5 * (cosine + cosine);
            }
            return;
        }
        for (score, pair) in scores.iter_mut().zip(self.starts.windows(2)) {
            let own = &cosines[pair[0] as usize..pair[1] as usize];
            let (mut highest, mut sum) = (f32::NEG_INFINITY, 0f32);
            for &cosine in own {
                highest = highest.max(cosine);
                sum += cosine;
            }
            *score += scale * 0.5 * (highest + sum / own.len() as f32);
        }
    }
}
