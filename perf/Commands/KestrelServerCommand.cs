using System;
using System.Threading.Tasks;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>The server of <c>perf kestrel</c>, in its own process. Words to the parent: port number; result cpu cycles pages allocated
/// (-1 where there is no arena).</summary>
internal sealed class KestrelServerCommand : ICommand
{
    public string Name => "kestrel-server";

    public string Summary => "the server of kestrel";

    public int Run(Arguments arguments)
    {
        using var side = new ChildSide();
        string pool = arguments.Choice("pool", KestrelServer.Pools);
        int blockBytes = KestrelCommand.ReadBlockBytes(arguments);
        arguments.End();

        ServeAsync(pool, blockBytes).GetAwaiter().GetResult();
        return Program.Success;
    }

    private static async Task ServeAsync(string pool, int blockBytes)
    {
        await using KestrelServer server = await KestrelServer.StartAsync(pool, blockBytes);
        ChildSide.Say("port", server.Port);
        ChildSide.Await("begin");
        TimeSpan before = Environment.CpuUsage.TotalTime;
        ChildSide.Await("finish");
        ArenaStatistics? statistics = server.Statistics;
        ChildSide.Say(
            "result",
            (Environment.CpuUsage.TotalTime - before).TotalSeconds,
            statistics?.Cycles ?? -1,
            statistics?.PagesTreated ?? -1,
            statistics?.AllocatedBytes ?? -1);
    }
}
