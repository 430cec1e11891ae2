//! Frames and connections over real TCP.

mod framing;
mod network;
