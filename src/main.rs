//! Trilobite: one process that stands in for Prometheus, Loki and Jaeger.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    trilobite::allocator::prepare();
    let args: Vec<_> = std::env::args_os().collect();
    if let Some(code) = trilobite::cli::run(&args) {
        return code;
    }
    let config = match trilobite::config::Config::from_args(args) {
        Ok(config) => config,
        Err(e) => e.exit(),
    };
    trilobite::telemetry::init_logging(&config);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Walks of a syntax tree are as deep as the tree; the parser bounds it with this in mind.
        .thread_stack_size(8 << 20)
        .build()
    {
        Ok(runtime) => runtime,
        Err(e) => {
            tracing::error!("cannot start worker threads: {e}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(trilobite::server::run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e:#}");
            ExitCode::FAILURE
        }
    }
}
