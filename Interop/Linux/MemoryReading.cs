namespace LowLevel.Interop.Linux;

/// <summary>How memory stands for this process at one instant; what the machine does not tell is null.</summary>
/// <param name="LimitBytes">The least limit of the memory cgroup and those above it.</param>
/// <param name="ChargeBytes">Of the group among them that is nearest to its own limit: what it is charged, without file pages that the
/// kernel can drop at once (the working set by which containers are judged).</param>
/// <param name="ChargeLimitBytes">That group's limit.</param>
/// <param name="StalledPercent">0 to 100: the share of the last 10 s in which some task waited for memory (PSI), of the group where
/// it is counted, else of the machine.</param>
internal readonly record struct MemoryReading(ulong? LimitBytes, ulong? ChargeBytes, ulong? ChargeLimitBytes, double? StalledPercent);
