//! Which sizes are off, by what sessions used and by how often they ran.

use advice::sizing::{SizeVerdict, SizingBasis, UnknownSizing};
use domain::demand::ByResource;
use domain::resource::Resource;
use projections::ReadModel;
use projections::read_models::advice::counts::VerdictCount;
use projections::read_models::advice::sizing_gaps::{SizingGap, SizingGapFilter, SizingGapSort};
use projections::read_models::definitions::DefinitionFilter;

use crate::given::World;

/// Three definitions of 4 GB: one uses 1.7 GB in five sessions, one 9 GB in one, and one never ended.
async fn world() -> World {
    let world = World::new().await;
    for definition in ["ospf", "bgp", "isis"] {
        world.definition(definition).await;
    }
    for number in 0..5 {
        world.ended(&format!("ospf-{number}"), "ospf", 1500.0 + 50.0 * f64::from(number)).await;
    }
    world.ended("bgp-1", "bgp", 9000.0).await;
    world.running("isis-1", "isis").await;
    world.settle_one(ReadModel::Advice).await;
    world.settle_one(ReadModel::Definitions).await;
    world
}

async fn gaps(world: &World, filter: SizingGapFilter) -> Vec<SizingGap> {
    let ranking = world.projections.sizing_ranking(world.clock.now()).await.unwrap();
    let found = world.projections.sizing_gaps(&ranking, &filter, 50).await.unwrap();
    assert_eq!((ranking.unreadable(), found.unreadable), (&[][..], Vec::new()));
    found.items
}

fn memory(sort: SizingGapSort) -> SizingGapFilter {
    SizingGapFilter { resource: Some(Resource::MemoryMb), sort, ..SizingGapFilter::default() }
}

#[tokio::test]
async fn what_is_too_small_comes_before_what_is_too_large_each_by_what_it_costs() {
    let world = world().await;
    let found = gaps(&world, memory(SizingGapSort::Cost)).await;
    let names: Vec<(&str, SizeVerdict)> =
        found.iter().map(|gap| (gap.definition_id.as_str(), gap.sizing.verdict)).collect();
    assert_eq!(names, [("bgp", SizeVerdict::TooSmall), ("ospf", SizeVerdict::TooLarge)]);

    let (small, large) = (&found[0], &found[1]);
    assert_eq!((small.sizing.basis, small.sizing.difference), (Some(SizingBasis::LargestUse), Some(5.0 * 1024.0)));
    assert_eq!((small.sessions_in_4_weeks, small.sessions_a_week), (1, 0.25));
    assert_eq!(small.weekly_gap, Some(1280.0), "5 GB × 0.25 sessions a week");
    assert_eq!((large.sizing.basis, large.sizing.difference), (Some(SizingBasis::Recommended), Some(-2048.0)));
    assert_eq!(large.weekly_gap, Some(2.0 * 1024.0 * 1.25));
    // Four GB are configured for each of the six sessions.
    assert_eq!(large.share, Some(2.0 * 5.0 / (4.0 * 6.0)));
    let largest = large.largest_use.as_ref().unwrap();
    assert_eq!((largest.value, largest.session_id.as_str()), (1700.0, "ospf-4"));
    assert_eq!(large.definition_name, "OSPF");
}

#[tokio::test]
async fn gaps_are_filtered_by_verdict_and_name_and_ordered_by_sessions() {
    let world = world().await;
    let unknown = SizingGapFilter { verdict: Some(SizeVerdict::Unknown), ..memory(SizingGapSort::Sessions) };
    let found = gaps(&world, unknown).await;
    assert_eq!((found.len(), found[0].definition_id.as_str()), (1, "isis"));
    assert_eq!(found[0].sizing.unknown_because, Some(UnknownSizing::NoSessionEnded));
    assert_eq!((found[0].weekly_gap, &found[0].largest_use), (None, &None));
    let named = SizingGapFilter { text: Some("osp".to_owned()), ..memory(SizingGapSort::Name) };
    assert_eq!(gaps(&world, named).await.len(), 2, "all are called OSPF");
    let none = SizingGapFilter { text: Some("eigrp".to_owned()), ..SizingGapFilter::default() };
    assert_eq!(gaps(&world, none).await, []);
}

#[tokio::test]
async fn the_same_verdict_is_told_of_a_definition_in_lists_totals_and_by_its_recommendation() {
    let world = world().await;
    let request = projections::PageRequest::first(10);
    let listed = world.projections.definitions(&DefinitionFilter::default(), &request).await.unwrap().items;
    let verdicts: Vec<(&str, SizeVerdict)> = listed.iter().map(|row| (row.id.as_str(), row.verdict)).collect();
    let expected = [("isis", SizeVerdict::Unknown), ("bgp", SizeVerdict::TooSmall), ("ospf", SizeVerdict::TooLarge)];
    assert_eq!(verdicts, expected);
    for row in &listed {
        let live = world.projections.recommendation(&row.id, None, None).await.unwrap().unwrap().sizing;
        assert_eq!(row.sizing, live, "{}", row.id);
        let all = gaps(&world, SizingGapFilter::default()).await;
        let in_gaps =
            |resource: Resource| all.iter().find(|gap| gap.definition_id == row.id && gap.resource == resource);
        let sizing: &ByResource<_> = row.sizing.as_ref().unwrap();
        for resource in Resource::ALL {
            assert!(in_gaps(resource).is_none_or(|gap| gap.sizing == *resource.part(sizing)));
        }
    }
    let counted = world.projections.definitions_by_verdict().await.unwrap();
    let one = |verdict| VerdictCount { verdict, definitions: 1 };
    assert_eq!(counted, [SizeVerdict::TooSmall, SizeVerdict::TooLarge, SizeVerdict::Unknown].map(one));
    let ranking = world.projections.sizing_ranking(world.clock.now()).await.unwrap();
    let large = ranking
        .totals()
        .iter()
        .find(|total| (total.verdict, total.resource) == (SizeVerdict::TooLarge, Resource::MemoryMb));
    assert_eq!(large.map(|total| (total.definitions, total.weekly_gap)), Some((1, Some(2560.0))));
}
