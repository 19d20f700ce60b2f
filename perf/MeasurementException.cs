using System;

namespace LowLevel.Perf;

/// <summary>The measurement could not be made or did not hold: one line, exit code 1.</summary>
internal sealed class MeasurementException : Exception
{
    public MeasurementException()
    {
    }

    public MeasurementException(string message)
        : base(message)
    {
    }

    public MeasurementException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
