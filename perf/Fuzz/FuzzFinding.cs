using System;
using System.Runtime.CompilerServices;

namespace LowLevel.Perf;

/// <summary>The code under attack did what it may not do.</summary>
internal sealed class FuzzFinding : Exception
{
    public FuzzFinding()
    {
    }

    public FuzzFinding(string message)
        : base(message)
    {
    }

    public FuzzFinding(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Throws unless it holds.</summary>
    public static void Require(bool holds, string what)
    {
        if (!holds)
        {
            throw new FuzzFinding(what);
        }
    }

    /// <summary>Throws unless it holds; the text is made only then.</summary>
    public static void Require(bool holds, [InterpolatedStringHandlerArgument(nameof(holds))] ref Text what)
    {
        if (!holds)
        {
            throw new FuzzFinding(what.Said());
        }
    }

    /// <summary>A text that nobody needs as long as all is well.</summary>
    [InterpolatedStringHandler]
    public ref struct Text
    {
        private DefaultInterpolatedStringHandler _said;

        public Text(int literalLength, int formattedCount, bool holds, out bool isNeeded)
        {
            isNeeded = !holds;
            _said = isNeeded ? new DefaultInterpolatedStringHandler(literalLength, formattedCount) : default;
        }

        public void AppendLiteral(string value) => _said.AppendLiteral(value);

        public void AppendFormatted<T>(T value) => _said.AppendFormatted(value);

        public void AppendFormatted<T>(T value, string format) => _said.AppendFormatted(value, format);

        internal string Said() => _said.ToStringAndClear();
    }
}
