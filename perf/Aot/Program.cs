using System;

namespace LowLevel.Perf;

/// <summary>The arena as a contestant of <c>perf peers</c>, compiled ahead of time: the same loops, the same protocol.</summary>
internal static class Program
{
    private static int Main()
    {
        using var load = new ArenaLoad();
        PeerServer.Serve(load, Console.In, Console.Out);
        return 0;
    }
}
