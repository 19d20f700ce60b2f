using System;

namespace LowLevel.Perf;

/// <summary>One contestant of <c>perf peers</c> or <c>perf heap</c> in its own process: says which malloc is in, then serves (<see cref="PeerServer"/>). It
/// is in no memory cgroup of its own: its time is measured, not its memory.</summary>
internal sealed class PeersChildCommand : ICommand
{
    public string Name => "peers-child";

    public string Summary => "one contestant of peers";

    public int Run(Arguments arguments)
    {
        string name = arguments.Text("contestant") ?? throw new UsageException("option --contestant is missing; allowed: a contestant's name");
        bool ofHeap = arguments.Flag("of-heap");
        using PeerLoad load = PeersContestants.Create(name);
        arguments.End();
        ChildSide.Say(["library", .. PeerLibrary.Loaded()]);
        PeerServer.Serve(load, Console.In, Console.Out, ofHeap ? PeerCell.HeapSizes : PeerCell.Sizes);
        return Program.Success;
    }
}
