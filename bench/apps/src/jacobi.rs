//! Jacobi's iteration for Laplace's equation on a square: in each sweep, each cell becomes the mean of its four neighbours.
//!
//! Two grids take turns. A process has some rows of both, and reads one row of each neighbour. Rows begin at pages. Size: cells of a
//! side. An iteration is a sweep.

use std::ops::{Range, RangeInclusive};

use crate::app::{App, Problem, Rank};
use crate::memory::{PAGE, Place, Plan, Shared};
use crate::numbers::{Digest, fraction, number};

/// Numbers of a page.
const PAGE_CELLS: usize = PAGE / size_of::<f64>();

pub(crate) struct Jacobi {
    problem: Problem,
    grids: [Place<f64>; 2],
}

/// What a cell begins with. Those of the rim stay so.
fn first(size: usize, row: usize, column: usize) -> f64 {
    fraction(number(1, (row * size + column) as u64))
}

/// The inner cells of a row after a sweep.
fn sweep(out: &mut [f64], above: &[f64], row: &[f64], below: &[f64]) {
    let size = row.len();
    let around =
        above[1..size - 1].iter().zip(&below[1..size - 1]).zip(row[..size - 2].iter().zip(&row[2..]));
    for (cell, ((above, below), (left, right))) in out[1..size - 1].iter_mut().zip(around) {
        *cell = 0.25 * ((above + below) + (left + right));
    }
}

impl Jacobi {
    fn grids(&self, rank: &Rank) -> [Shared<f64>; 2] {
        self.grids.map(|grid| rank.memory.at(grid))
    }

    /// Where a row lies in its grid.
    fn row(&self, row: usize) -> Range<usize> {
        let start = row * stride(self.problem);
        start..start + self.problem.size
    }
}

fn stride(problem: Problem) -> usize {
    problem.size.next_multiple_of(PAGE_CELLS)
}

impl App for Jacobi {
    const SIZES: RangeInclusive<usize> = 3..=32_768;

    fn plan(problem: Problem, plan: &mut Plan) -> Jacobi {
        let grids = [(); 2].map(|()| plan.place(problem.size * stride(problem)));
        Jacobi { problem, grids }
    }

    fn prepare(&self, rank: &Rank) {
        let size = self.problem.size;
        for grid in self.grids(rank) {
            for row in rank.share(size, 1) {
                // SAFETY: the row is this process', and nobody reads before all are prepared.
                let cells = unsafe { grid.write(self.row(row)) };
                cells.iter_mut().enumerate().for_each(|(column, cell)| *cell = first(size, row, column));
            }
        }
    }

    fn run(&self, rank: &Rank) {
        let size = self.problem.size;
        let [mut from, mut to] = self.grids(rank);
        let rows = rank.share(size, 1);
        let rows = rows.start.max(1)..rows.end.min(size - 1);
        for _ in 0..self.problem.iterations {
            for row in rows.clone() {
                // SAFETY: between two barriers, all write one grid, each its own rows, and read the other.
                unsafe {
                    let [above, same, below] = [row - 1, row, row + 1].map(|row| from.read(self.row(row)));
                    sweep(to.write(self.row(row)), above, same, below);
                }
            }
            rank.barrier.wait();
            (from, to) = (to, from);
        }
    }

    fn result(&self, rank: &Rank) -> u64 {
        let grid = self.grids(rank)[self.problem.iterations % 2];
        let mut digest = Digest::default();
        for row in 0..self.problem.size {
            // SAFETY: all have run, and nobody writes any more.
            let cells = unsafe { grid.read(self.row(row)) };
            cells.iter().for_each(|cell| digest.add(cell.to_bits()));
        }
        digest.value()
    }

    fn alone(problem: Problem) -> u64 {
        let size = problem.size;
        let cells = |row| (0..size).map(|column| first(size, row, column)).collect::<Vec<f64>>();
        let mut grid: Vec<Vec<f64>> = (0..size).map(cells).collect();
        for _ in 0..problem.iterations {
            let before = grid.clone();
            for row in 1..size - 1 {
                for column in 1..size - 1 {
                    let (above, below) = (before[row - 1][column], before[row + 1][column]);
                    let (left, right) = (before[row][column - 1], before[row][column + 1]);
                    grid[row][column] = 0.25 * ((above + below) + (left + right));
                }
            }
        }
        grid.iter().flatten().map(|cell| cell.to_bits()).collect::<Digest>().value()
    }
}
