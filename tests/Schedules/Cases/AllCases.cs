namespace Schedules;

/// <summary>Every case.</summary>
internal static class AllCases
{
    public static ScheduleCase[] Make() =>
    [
        new GateCase(), new TwoDrainersCase(), new ThreadEndCase(), new ZoneLockCase(), new WordCase(), new SignalCase(), new WorkerCase(),
        new CapQueueCase(), new CapMovesCase(), new DiscardGateCase(), new RingCase(eventIndex: false), new RingCase(eventIndex: true), new ServeCase(),
        new DisposeCase(), new ThreadPagesCase(), new StopAndStartCase(), new CloseCase(), new OwnerCase(), new HeapCase(),
    ];
}
