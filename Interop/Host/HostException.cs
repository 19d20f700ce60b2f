using System;
using System.Diagnostics.CodeAnalysis;

namespace LowLevel.Interop.Host;

/// <summary>The host cannot begin; the message is one line that says why.</summary>
[SuppressMessage("Design", "CA1064", Justification = "A program has no callers.")]
internal sealed class HostException : Exception
{
    public HostException()
    {
    }

    public HostException(string message)
        : base(message)
    {
    }

    public HostException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
