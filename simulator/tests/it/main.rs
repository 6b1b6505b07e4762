mod client;
mod control;
mod faults;
mod life_cycle;
mod samples;
mod shapes;
mod sign_in;
mod virl2_client;
