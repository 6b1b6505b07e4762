mod client;
mod life_cycle;
mod sign_in;
