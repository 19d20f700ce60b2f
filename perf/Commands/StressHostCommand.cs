using System;
using LowLevel.Interop.Host;

namespace LowLevel.Perf;

/// <summary>The host of <c>perf stress</c>, in a process of its own so that it can be killed. Words to the parent: up.</summary>
internal sealed class StressHostCommand : ICommand
{
    /// <summary>Less than most rounds' arenas, so that the balloons are at work.</summary>
    private const ulong BudgetBytes = 48ul << 20;

    public string Name => "stress-host";

    public string Summary => "the host of stress";

    public int Run(Arguments arguments)
    {
        string path = arguments.Text("path") ?? throw new UsageException("--path: missing; allowed: where to listen");
        arguments.End();
        using HostServer host = new(new HostOptions { Path = path, BudgetBytes = BudgetBytes, Interval = TimeSpan.FromMilliseconds(50) });
        host.Start();
        ChildSide.Say("up");
        ChildSide.Await("finish");
        return Program.Success;
    }
}
