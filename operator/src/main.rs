//! `pagemesh-operator`: observe, plan, apply.

mod apply;
mod args;
mod default_pool;
mod http;
mod lead;
mod leader;
mod metrics;
mod observe;
mod plan;
#[cfg(test)]
mod regions_for_tests;
mod uninstall;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use kube::{Client, Config};
use pagemesh_telemetry::{Format, Settings};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info};

use args::{Args, LogFormat, RunArgs, Subcommand};
use default_pool::DefaultPool;
use http::Health;
use lead::Leading;
use leader::{Election, Fence};
use metrics::Metrics;
use plan::AgentsRun;

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Args::parse() {
        Args { command: Some(Subcommand::Uninstall(args)), .. } => uninstall::run(&args).await,
        Args { command: None, run: Some(args) } => run(args).await,
        Args { command: None, run: None } => unreachable!("clap asks for one or the other"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Either there is a log by now, or what is wrong is the log itself.
            if tracing::dispatcher::has_been_set() {
                error!("{error:#}");
            } else {
                eprintln!("pagemesh-operator: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(args: RunArgs) -> Result<()> {
    let format = match args.log_format {
        LogFormat::Human => Format::Human,
        LogFormat::Json => Format::Json,
    };
    let _telemetry = pagemesh_telemetry::start(&Settings {
        level: args.log,
        format,
        service_name: "pagemesh-operator",
        instance: args.identity.clone(),
    })?;
    let mut shutdown = Shutdown::new()?;
    let default_pool = args.default_pool.as_deref().map(DefaultPool::read).transpose()?;
    let config = Config::infer().await.context("cannot find out how to reach Kubernetes")?;
    let client = Client::try_from(config).context("cannot reach Kubernetes")?;
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::new());
    let listener = TcpListener::bind(&*http::candidates(args.http))
        .await
        .with_context(|| format!("cannot listen on {}: change --http", args.http))?;
    let server = axum::serve(listener, http::router(Arc::clone(&metrics), Arc::clone(&health)));
    info!(identity = args.identity, namespace = args.namespace, http = %args.http, "started");

    let leading = Leading {
        client: client.clone(),
        identity: args.identity.clone(),
        agents_run: Arc::new(AgentsRun {
            namespace: args.namespace.clone(),
            image: args.agent_image,
            image_pull_secrets: args.agent_image_pull_secret,
            priority_class: Some(args.agent_priority_class).filter(|name| !name.is_empty()),
            kubelet_dir: Some(args.kubelet_dir).filter(|dir| !dir.is_empty()),
            json_log: args.log_format == LogFormat::Json,
            env: args.agent_env,
        }),
        default_pool,
        metrics,
        health,
    };
    let election = args.leader_elect.then(|| Election::new(client, &args.namespace, args.identity));
    tokio::select! {
        result = server => result.context("cannot answer HTTP any more"),
        result = serve(&leading, election, &mut shutdown) => result,
    }
}

/// Leads whenever it may, until it is told to end.
async fn serve(leading: &Leading, election: Option<Election>, shutdown: &mut Shutdown) -> Result<()> {
    let Some(mut election) = election else {
        return lead(leading, Fence::open(), std::future::pending(), shutdown).await.map(|_| ());
    };
    loop {
        tokio::select! {
            () = shutdown.told() => return Ok(()),
            () = election.acquire(|| leading.health.ready()) => {}
        }
        info!("leads");
        let fence = election.fence();
        let ended = lead(leading, fence, election.hold(), shutdown).await;
        leading.metrics.leader.set(0);
        leading.metrics.queue_depth.set(0);
        leading.metrics.forget();
        leading.health.leads(false);
        match ended {
            Ok(Ended::LostLead) => info!("leads no more; waits to lead again"),
            Ok(Ended::Told) => {
                election.release().await;
                return Ok(());
            }
            Err(error) => {
                election.release().await;
                return Err(error);
            }
        }
    }
}

/// Why leading has ended.
enum Ended {
    LostLead,
    Told,
}

/// Leads until `lost` is done.
async fn lead(
    leading: &Leading,
    fence: Fence,
    lost: impl Future<Output = ()>,
    shutdown: &mut Shutdown,
) -> Result<Ended> {
    leading.metrics.leader.set(1);
    leading.health.leads(true);
    tokio::select! {
        // Whether it may still act comes before acting.
        biased;
        () = lost => Ok(Ended::LostLead),
        () = shutdown.told() => Ok(Ended::Told),
        ended = leading.run(fence) => match ended? {},
    }
}

/// The signals that end the operator.
struct Shutdown {
    interrupt: Signal,
    terminate: Signal,
}

impl Shutdown {
    fn new() -> Result<Shutdown> {
        Ok(Shutdown {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        info!("told to end");
    }
}
