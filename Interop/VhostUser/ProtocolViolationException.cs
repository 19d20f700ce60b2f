using System;
using System.Diagnostics.CodeAnalysis;

namespace LowLevel.Interop.VhostUser;

/// <summary>The other side did what no peer may do; the message says what, and the conversation ends.</summary>
[SuppressMessage("Design", "CA1064", Justification = "It never leaves the thread that serves one peer.")]
internal sealed class ProtocolViolationException : Exception
{
    public ProtocolViolationException()
    {
    }

    public ProtocolViolationException(string message)
        : base(message)
    {
    }

    public ProtocolViolationException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
