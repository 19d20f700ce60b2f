using System;

namespace LowLevel.Perf;

/// <summary>Bad input: the message is the one line that the user sees; it names the argument (and the line of a file) and
/// what is allowed.</summary>
internal sealed class UsageException : Exception
{
    public UsageException()
    {
    }

    public UsageException(string message)
        : base(message)
    {
    }

    public UsageException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
