using System;
using LowLevel.Interop.Linux;

namespace LowLevel.Interop.Host;

/// <summary>What a host is asked to do.</summary>
internal sealed record HostOptions
{
    /// <summary>Path of the socket on which guests come.</summary>
    public required string Path { get; init; }

    /// <summary>Memory for all guests together, bytes.</summary>
    public required ulong BudgetBytes { get; init; }

    /// <summary>How it is divided.</summary>
    public BudgetRule Rule { get; init; }

    /// <summary>From one division to the next, unless something happens before.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>File that receives the status each round, whole or not at all; null: none.</summary>
    public string? StatusPath { get; init; }

    /// <summary>The most guests at one time; more are turned away.</summary>
    public int GuestsMax { get; init; } = 1024;

    /// <summary>How long the end may take.</summary>
    public TimeSpan EndTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Called after each round, in its thread.</summary>
    public Action<HostStatus>? AfterRound { get; init; }

    /// <summary>The clock of rounds.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>The operating system.</summary>
    public IOperatingSystem System { get; init; } = LinuxSystem.Instance;

    /// <summary>Descriptors.</summary>
    public IDescriptors Descriptors { get; init; } = LinuxDescriptors.Instance;
}
