namespace Schedules;

/// <summary>Every case.</summary>
internal static class AllCases
{
    public static ScheduleCase[] Make() => [new GateCase(), new TwoDrainersCase(), new ThreadEndCase(), new ZoneLockCase(), new SignalCase()];
}
