namespace LowLevel.Perf;

/// <summary>A target whose memory another thread may change while the code under attack reads it. Such a ring cannot be replayed.</summary>
internal interface IRacingTarget : IFuzzTarget
{
    /// <summary>Whether the other thread does.</summary>
    bool IsRacing { get; set; }
}
