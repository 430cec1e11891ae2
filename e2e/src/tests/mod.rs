//! What pagemesh promises on Kubernetes, a promise each.

mod agents;
mod api_server;
mod attaching;
mod command_line;
mod deletion;
mod examples;
mod injection;
mod names;
mod operator;
mod permissions;
mod placement;
mod release;
mod restarts;
mod rules;
mod sharing;
mod traces;
mod volumes;

use anyhow::Result;
use futures::future::LocalBoxFuture;

use crate::scene::Scene;

/// A test.
pub(crate) struct Test {
    /// Its name, and that of its namespace.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) run: for<'a> fn(&'a Scene) -> LocalBoxFuture<'a, Result<()>>,
    /// It reaches into nodes of kind, or needs to be reached from them.
    pub(crate) of_kind: bool,
}

/// A test from an async function of the same name.
macro_rules! test {
    (of kind, $module:ident :: $name:ident) => {
        Test { of_kind: true, ..test!($module::$name) }
    };
    ($module:ident :: $name:ident) => {
        Test { name: stringify!($name), run: |scene| Box::pin($module::$name(scene)), of_kind: false }
    };
}

/// Tests that disturb nobody but themselves.
pub(crate) fn side_by_side() -> Vec<Test> {
    vec![
        test!(release::helm_test_passes),
        test!(rules::the_api_server_and_we_agree_on_every_rule),
        test!(injection::the_admission_policy_and_inject_do_the_same),
        test!(sharing::unmodified_programs_on_two_nodes_share_a_region),
        test!(sharing::a_region_grows),
        test!(names::a_mount_table_leads_to_regions_of_two_namespaces),
        test!(names::a_pod_with_its_own_table_waits_for_it_and_sees_no_other),
        test!(sharing::coherence_is_switched_under_load),
        test!(attaching::a_pod_waits_for_its_region_and_starts_by_itself),
        test!(attaching::who_asks_to_read_only_cannot_write),
        test!(attaching::a_pod_with_little_memory_reads_a_large_region),
        test!(attaching::programs_of_musl_and_of_glibc_share_a_region),
        test!(attaching::access_that_is_taken_away_ends_at_the_next_access),
        test!(deletion::deletion_waits_for_attachments_and_names_them),
        test!(deletion::a_recreated_region_is_a_new_one),
        test!(placement::what_cannot_be_placed_says_why_and_heals),
        test!(placement::a_pool_comes_gets_a_node_and_has_too_little_memory),
        test!(placement::class_defaults_and_limits),
        test!(permissions::an_agent_may_write_only_what_is_its_own),
        test!(examples::every_example_works),
        test!(command_line::status_shows_a_region),
        test!(command_line::logs_and_report),
        test!(of kind, traces::one_trace_spans_operator_and_agent),
        test!(of kind, volumes::csi_sanity_is_content),
        test!(volumes::a_volume_that_is_asked_for_wrongly_says_why),
    ]
}

/// Tests that take something away from everybody, in this order. The last ones replace and remove pagemesh itself.
pub(crate) fn alone() -> Vec<Test> {
    vec![
        test!(agents::a_third_node_joins_and_attaches),
        test!(agents::a_drained_home_hands_over_under_load),
        test!(agents::a_node_that_the_pool_no_longer_selects_hands_over),
        test!(of kind, restarts::an_agent_that_dies_or_is_deleted_is_not_noticed),
        test!(of kind, volumes::a_kubelet_that_starts_anew_finds_the_driver),
        test!(of kind, volumes::volumes_come_and_go_after_their_agent_was_replaced),
        test!(of kind, agents::a_node_that_cannot_serve_says_so),
        test!(of kind, operator::killed_twenty_times_while_regions_come_and_go),
        test!(of kind, operator::another_leader_takes_over),
        test!(command_line::check_names_an_injected_fault),
        test!(of kind, api_server::stopped_for_a_minute_under_load),
        test!(of kind, release::an_upgrade_and_its_rollback_are_not_noticed),
        test!(of kind, release::an_upgrade_from_the_chart_before_keeps_what_regions_hold),
        test!(release::uninstalling_leaves_regions),
    ]
}
