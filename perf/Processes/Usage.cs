namespace LowLevel.Perf;

/// <summary>What the kernel says of a process at one instant. Bytes.</summary>
/// <param name="Rss">Resident set.</param>
/// <param name="Charge">The charge of the process's own memory cgroup; null where it has none to itself.</param>
internal readonly record struct Usage(long Rss, long? Charge)
{
    /// <summary>This, without what was there before.</summary>
    public Usage Net(Usage baseline) => new(Rss - baseline.Rss, Charge - baseline.Charge);
}

/// <summary>One point of a curve.</summary>
/// <param name="Seconds">On the parent's clock.</param>
/// <param name="Usage">As sampled.</param>
/// <param name="Live">Bytes requested and still held, as the process last said.</param>
internal readonly record struct CurvePoint(double Seconds, Usage Usage, long Live);
