using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Native;

public sealed class AtomicWordTests
{
    [Fact]
    public void An_update_that_another_writer_overtakes_starts_again_from_what_it_finds()
    {
        ulong word = 0x1;
        Overtaken transition = new(new Interference(word));
        unsafe
        {
            // The word is a local variable: its address is good until this method returns.
            transition.Other.Word = &word;
            ulong before = AtomicWord.Update(ref word, transition);
            Assert.Equal(0x11ul, before);
        }
        Assert.Equal(0x111ul, word);
        Assert.Equal(2, transition.Other.Calls);
    }

    [Fact]
    public void An_update_that_changes_nothing_returns_the_value_and_writes_nothing()
    {
        ulong word = 0xff;
        Assert.Equal(0xfful, AtomicWord.Update(ref word, new SetLowByte()));
        Assert.Equal(0xfful, word);
    }

    private sealed class Interference(ulong first)
    {
        public unsafe ulong* Word { get; set; }

        public int Calls { get; private set; }

        public unsafe void Strike(ulong seen)
        {
            if (++Calls == 1)
            {
                Assert.Equal(first, seen);
                *Word |= 0x10;
            }
        }
    }

    /// <summary>Writes the word from elsewhere between the read and the compare-exchange of the first attempt.</summary>
    private readonly struct Overtaken(Interference other) : ITransition
    {
        public Interference Other => other;

        public ulong Next(ulong value)
        {
            other.Strike(value);
            return value | 0x100;
        }
    }

    private readonly struct SetLowByte : ITransition
    {
        public ulong Next(ulong value) => value | 0xff;
    }
}
