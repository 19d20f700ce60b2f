using System;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>One mix with one contestant of <c>perf heap</c> in its own process.</summary>
internal sealed class HeapWasteChildCommand : ICommand
{
    // The first pages of the runtime's own that this code needs; their memory is gone before the baseline.
    private const int RehearsalBytes = 1 << 20;

    public string Name => "heap-waste-child";

    public string Summary => "one mix with one contestant of heap";

    public int Run(Arguments arguments)
    {
        string name = arguments.Text("contestant") ?? throw new UsageException("option --contestant is missing; allowed: a contestant's name");
        string mix = arguments.Choice("mix", HeapMix.Names);
        long bytes = (long)arguments.Integer("mebibytes", 256, 1, 4096) << 20;
        HeapSource source = HeapSource.Create(name);
        arguments.End();
        ChildSide.Say(["library", .. PeerLibrary.Loaded()]);
        using (source)
        {
            new HeapMix(source, mix, RehearsalBytes).Run(free: true);
            var load = new HeapMix(source, mix, bytes);
            GC.Collect();
            long before = Smaps.RollupResidentBytes();
            load.Run(free: false);
            ChildSide.Say("done", load.LiveBytes, Smaps.RollupResidentBytes() - before);
            load.FreeAll();
        }

        return Program.Success;
    }
}
