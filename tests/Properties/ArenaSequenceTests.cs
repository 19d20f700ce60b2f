using CsCheck;
using Xunit;

namespace LowLevel.Tests.Properties;

/// <summary>As <see cref="ArenaModelTests"/>, over short sequences that shrink to the steps that matter; a failure prints its seed and
/// the steps as they would be typed.</summary>
public sealed class ArenaSequenceTests
{
    [Fact]
    public void Short_random_sequences_hold_in_every_setup_and_shrink_when_they_do_not() =>
        Gen.Select(Gen.Int[0, ArenaSetup.All.Length - 1], Operations)
            .Sample(
                (setup, operations) => RunShort(ArenaSetup.All[setup], operations),
                iter: 150,
                threads: 1,
                print: found => $"setup {found.Item1}: [{string.Join(", ", found.Item2)}]");

    private static Gen<ArenaOperation[]> Operations { get; } =
        Gen.Select(Gen.Int[0, ArenaOperation.Draws - 1], Gen.Int[0, (1 << 20) - 1], Gen.Int[0, (1 << 20) - 1], Gen.Int[0, (1 << 20) - 1])
            .Select((kind, a, b, c) => new ArenaOperation(ArenaOperation.KindOf(kind), a, b, c))
            .Array[1, 120];

    private static void RunShort(ArenaSetup setup, ArenaOperation[] operations)
    {
        using ArenaModel model = new(setup);
        foreach (ArenaOperation operation in operations)
        {
            model.Step(operation);
        }

        model.Finish();
    }
}
