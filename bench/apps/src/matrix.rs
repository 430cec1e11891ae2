//! Multiplication of square matrices, `X ← A · X`, again and again. Rows of A add up to one, so that X stays bounded.
//!
//! A process has some rows of A and of X, and reads all of X. Two matrices X take turns. Rows begin at pages. Size: rows. An iteration is
//! a product.

use std::ops::{Range, RangeInclusive};

use crate::app::{App, Problem, Rank};
use crate::memory::{PAGE, Place, Plan};
use crate::numbers::{Digest, fraction, number};

/// Numbers of a page.
const PAGE_CELLS: usize = PAGE / size_of::<f64>();

pub(crate) struct Matrix {
    problem: Problem,
    a: Place<f64>,
    x: [Place<f64>; 2],
}

/// A row of A.
fn row_of_a(size: usize, row: usize) -> Vec<f64> {
    let cells = (0..size).map(|column| 0.5 + fraction(number(2, (row * size + column) as u64)));
    let mut cells: Vec<f64> = cells.collect();
    let sum: f64 = cells.iter().sum();
    cells.iter_mut().for_each(|cell| *cell /= sum);
    cells
}

/// A row of the first X.
fn row_of_x(size: usize, row: usize) -> impl Iterator<Item = f64> {
    (0..size).map(move |column| fraction(number(3, (row * size + column) as u64)))
}

impl Matrix {
    /// Where a row lies in its matrix.
    fn row(&self, row: usize) -> Range<usize> {
        let start = row * self.problem.size.next_multiple_of(PAGE_CELLS);
        start..start + self.problem.size
    }
}

impl App for Matrix {
    const SIZES: RangeInclusive<usize> = 1..=16_384;

    fn plan(problem: Problem, plan: &mut Plan) -> Matrix {
        let mut place = || plan.place(problem.size * problem.size.next_multiple_of(PAGE_CELLS));
        Matrix { problem, a: place(), x: [place(), place()] }
    }

    fn prepare(&self, rank: &Rank) {
        let size = self.problem.size;
        let (a, x) = (rank.memory.at(self.a), rank.memory.at(self.x[0]));
        for row in rank.share(size, 1) {
            // SAFETY: the rows are this process', and nobody reads before all are prepared.
            let (a, x) = unsafe { (a.write(self.row(row)), x.write(self.row(row))) };
            a.copy_from_slice(&row_of_a(size, row));
            x.iter_mut().zip(row_of_x(size, row)).for_each(|(cell, first)| *cell = first);
        }
    }

    fn run(&self, rank: &Rank) {
        let size = self.problem.size;
        let a = rank.memory.at(self.a);
        let [mut from, mut to] = self.x.map(|x| rank.memory.at(x));
        let mut sums = vec![0.0; size];
        for _ in 0..self.problem.iterations {
            for row in rank.share(size, 1) {
                sums.fill(0.0);
                // SAFETY: nobody writes A any more; between two barriers, all read one X.
                let factors = unsafe { a.read(self.row(row)) };
                for (other, factor) in factors.iter().enumerate() {
                    // SAFETY: as above.
                    let cells = unsafe { from.read(self.row(other)) };
                    sums.iter_mut().zip(cells).for_each(|(sum, cell)| *sum += factor * cell);
                }
                // SAFETY: between two barriers, all write the other X, each its own rows.
                unsafe { to.write(self.row(row)) }.copy_from_slice(&sums);
            }
            rank.barrier.wait();
            (from, to) = (to, from);
        }
    }

    fn result(&self, rank: &Rank) -> u64 {
        let x = rank.memory.at(self.x[self.problem.iterations % 2]);
        let mut digest = Digest::default();
        for row in 0..self.problem.size {
            // SAFETY: all have run, and nobody writes any more.
            unsafe { x.read(self.row(row)) }.iter().for_each(|cell| digest.add(cell.to_bits()));
        }
        digest.value()
    }

    fn alone(problem: Problem) -> u64 {
        let size = problem.size;
        let a: Vec<Vec<f64>> = (0..size).map(|row| row_of_a(size, row)).collect();
        let mut x: Vec<Vec<f64>> = (0..size).map(|row| row_of_x(size, row).collect()).collect();
        for _ in 0..problem.iterations {
            let cell = |row: &Vec<f64>, column: usize| {
                row.iter().zip(&x).fold(0.0, |sum, (factor, other)| sum + factor * other[column])
            };
            x = a.iter().map(|row| (0..size).map(|column| cell(row, column)).collect()).collect();
        }
        x.iter().flatten().map(|cell| cell.to_bits()).collect::<Digest>().value()
    }
}
