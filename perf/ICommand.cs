namespace LowLevel.Perf;

/// <summary>One thing that the program measures or shows.</summary>
internal interface ICommand
{
    /// <summary>What the user types.</summary>
    string Name { get; }

    /// <summary>One line for <c>help</c>, options included.</summary>
    string Summary { get; }

    /// <summary>What may stand behind the name, before the options; null: nothing.</summary>
    string? Operand => null;

    /// <summary>Reads its options, calls <see cref="Arguments.End"/>, then runs. Returns the exit code; throws
    /// <see cref="UsageException"/> for bad input before anything is written.</summary>
    int Run(Arguments arguments);
}
